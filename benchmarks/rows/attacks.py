"""The suite `standard` against the same four attacks called one after the other, as torchattacks offers them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import surgeon
from benchmarks.timing import Asked, Row
from surgeon.evaluation import evaluate, suite
from surgeon.models import normalization_of
from surgeon.recipe import Evaluation

EPS, STEPS, QUERIES = 8 / 255, 100, 5000
SHARED = Path(__file__).parents[3] / "shared"
"""CIFAR-10 and a trained ResNet-20, where they lie beside the checkout; else its own predictions are an
untrained one's labels."""


class Pixels(nn.Module):
    """A network that takes pixels in [0, 1]."""

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x - self.mean) / self.std)


def measure(asked: Asked) -> Iterator[Row]:
    """All images at the full budget, once; the verdicts of both are compared. Small: a few images, a
    tenth of the steps."""
    less = 10 if asked.small else 1
    model, x, y, name = _subject(4 if asked.small else asked.images, asked.device)
    attacks = [
        a.model_copy(update={"steps": a.steps // less})
        for a in suite(Evaluation(suite="standard", norm="linf", eps=EPS))
    ]
    began = time.perf_counter()
    outcome = evaluate(model, x.cpu(), y.cpu(), attacks)
    own = time.perf_counter() - began
    stand = {v.example: True for v in outcome.verdicts}
    for v in outcome.verdicts:
        stand[v.example] &= not v.success
    began = time.perf_counter()
    left = one_after_the_other(model, x, y, less)
    base = time.perf_counter() - began
    same = sum(bool(a) == stand[i] for i, a in enumerate(left))
    yield Row(
        "evaluation, suite standard",
        f"{name}, {len(x)} images",
        "torchattacks, one after the other",
        base / own,
        base / own,
        base / own,
        own,
        base,
        more=True,
        note=f"{same} of {len(x)} verdicts the same, {sum(stand.values())} stand",
    )


def one_after_the_other(model: nn.Module, x: Tensor, y: Tensor, less: int = 1) -> Tensor:
    """Which images stand all four attacks, each of which is run on all of them with the model as it is."""
    import torchattacks

    steps, classes = STEPS // less, 10
    made = (
        torchattacks.APGD(model, norm="Linf", eps=EPS, steps=steps),
        torchattacks.APGDT(model, norm="Linf", eps=EPS, steps=steps, n_classes=classes),
        torchattacks.FAB(model, norm="Linf", eps=EPS, steps=steps, n_classes=classes, multi_targeted=True),
        torchattacks.Square(model, norm="Linf", eps=EPS, n_queries=QUERIES // less),
    )
    left = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for attack in made:
        moved = attack(x, y)
        with torch.no_grad():
            left &= model(moved).argmax(1) == y
    return left.cpu()


def _subject(images: int, device: str) -> tuple[nn.Module, Tensor, Tensor, str]:
    weights = next(iter((SHARED / "weights").glob("resnet20-*.th")), None)
    model = surgeon.create_model("zoo/cifar_resnet20", **({"weights": str(weights)} if weights else {}))
    mean, std = normalization_of(model)
    pixels = Pixels(model, torch.tensor(mean), torch.tensor(std)).to(device).eval()
    if weights is None:
        x = torch.rand(images, 3, 32, 32, device=device)
        with torch.no_grad():
            return pixels, x, pixels(x).argmax(1), "an untrained ResNet-20"
    from surgeon.data import labelled

    shown = labelled(next((SHARED / "data" / "cifar10-jpeg").glob("test-*.parquet")), (3, 32, 32))
    return pixels, shown.x[:images].to(device), shown.y[:images].to(device), "ResNet-20 trained on CIFAR-10"
