"""A plain PyTorch loop with adversarial noise layers, in three added lines."""

import argparse

import timm
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import surgeon, surgeon.training  # surgeon


def main(recipe: str = "anl", epochs: int = 4) -> float:
    """Train a small ResNet on the digits; returns the accuracy on the last 400 of them."""
    torch.manual_seed(0)
    digits = load_digits()
    images = (
        torch.tensor(digits.images, dtype=torch.float32)
        .unsqueeze(1)
        .repeat_interleave(4, 2)
        .repeat_interleave(4, 3)
        / 16
    )
    labels = torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(images[:-400], labels[:-400]), batch_size=64, shuffle=True)
    model = timm.create_model("resnet18", num_classes=10, in_chans=1, channels=(16, 32, 64, 64))
    model = surgeon.apply(model, recipe, input_size=(1, 32, 32))  # surgeon
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            with surgeon.training.adversarial_noise(model, x, y, cross_entropy):  # surgeon
                loss = cross_entropy(model(x), y)
                loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return float((model(images[-400:]).argmax(1) == labels[-400:]).float().mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="anl", help="anl, canl, kap, … or several joined by '+'")
    parser.add_argument("--epochs", type=int, default=4)
    print(f"accuracy {100 * main(**vars(parser.parse_args())):.1f} %")
