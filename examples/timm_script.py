"""A script of timm's parts with adversarial noise layers, in three added lines; mixup's soft labels go with ANL."""

import argparse

import timm
import torch
from sklearn.datasets import load_digits
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader, TensorDataset

import surgeon, surgeon.training  # surgeon


def main(recipe: str = "anl", epochs: int = 8) -> float:
    """Train a small ResNet on the digits; returns the accuracy of the averaged weights on the last 400 of them."""
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
    loader = DataLoader(
        TensorDataset(images[:-400], labels[:-400]), batch_size=64, shuffle=True, drop_last=True
    )
    model = timm.create_model("resnet18", num_classes=10, in_chans=1, channels=(16, 32, 64, 64))
    model = surgeon.apply(model, recipe, input_size=(1, 32, 32))  # surgeon
    optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.05)
    scheduler, _ = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=epochs, warmup_epochs=1, warmup_lr=1e-4
    )
    average = ModelEmaV3(model, decay=0.95)
    mixup, loss_fn = Mixup(mixup_alpha=0.1, num_classes=10, label_smoothing=0.05), SoftTargetCrossEntropy()
    for epoch in range(epochs):
        scheduler.step(epoch)
        model.train()
        for x, y in loader:
            x, y = mixup(x, y)
            optimizer.zero_grad()
            with surgeon.training.adversarial_noise(model, x, y, loss_fn):  # surgeon
                loss = loss_fn(model(x), y)
                loss.backward()
            optimizer.step()
            average.update(model)
    average.module.eval()
    with torch.no_grad():
        return float((average.module(images[-400:]).argmax(1) == labels[-400:]).float().mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--recipe", default="anl", help="anl, kap, … (canl caches by class and refuses soft labels)"
    )
    parser.add_argument("--epochs", type=int, default=8)
    print(f"accuracy {100 * main(**vars(parser.parse_args())):.1f} %")
