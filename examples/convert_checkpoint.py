"""A trained stock checkpoint: cut with calibration images, fine-tuned by its own optimizer, folded into a
stock checkpoint."""

import argparse
import tempfile

import timm
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import surgeon
from surgeon.training import remap


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, epochs: int
) -> None:
    """An ordinary loop."""
    model.train()
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """In evaluation mode."""
    return float((model.eval()(images).argmax(1) == labels).float().mean())


def main(recipe: str = "kap", folder: str | None = None) -> list[float]:
    """Accuracies of the stock network, after the cut, after fine-tuning, and of the folded checkpoint in timm."""
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
    test = images[-400:], labels[-400:]
    settings = dict(num_classes=10, in_chans=1, channels=(16, 32, 64, 64))
    model = timm.create_model("resnet18", **settings)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train(model, optimizer, images[:-400], labels[:-400], 4)
    accuracies = [accuracy(model, *test)]

    cut = surgeon.apply(model, recipe, input_size=(1, 32, 32), calibration=images[:512])
    accuracies.append(accuracy(cut, *test))
    print(remap(optimizer, model, cut))
    optimizer.param_groups[0]["lr"] = 0.01
    train(cut, optimizer, images[:-400], labels[:-400], 2)
    accuracies.append(accuracy(cut, *test))

    with tempfile.TemporaryDirectory() as work:
        place = folder or work + "/stock"
        surgeon.save(surgeon.fold(cut), place, model_args=settings)
        stock = timm.create_model(f"local-dir:{place}", pretrained=True, **settings)
        accuracies.append(accuracy(stock, *test))
    return accuracies


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="kap")
    parser.add_argument("--folder", help="where to keep the stock checkpoint")
    names = ("trained", "cut", "fine-tuned", "folded, loaded by timm")
    for name, value in zip(names, main(**vars(parser.parse_args())), strict=True):
        print(f"{name:24} {100 * value:.1f} %")
