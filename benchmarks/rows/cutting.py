"""Planning and applying against creating the network."""

from __future__ import annotations

from collections.abc import Iterator

import timm
import torch

import surgeon
from benchmarks.timing import Asked, Comparison, Task
from surgeon.models.logits import compare_logits

RECIPES = ("kap", "anl", "noise", "defective")


def comparisons(asked: Asked) -> Iterator[Comparison]:
    """ResNet-50 at its own size."""
    name = "resnet18" if asked.small else "resnet50"
    stock = timm.create_model(name)
    tasks: dict[str, Task] = {f"plan + apply {r}": lambda r=r: surgeon.apply(stock, r) for r in RECIPES}
    rewritten, images = surgeon.apply(stock, "defective"), torch.randn(2, 3, 224, 224)
    tasks["the drift of defective, alone"] = lambda: compare_logits(stock, rewritten, images, "noise")
    yield Comparison(
        f"surgery, {name}", "timm.create_model", lambda: timm.create_model(name), tasks, min(asked.repeats, 5)
    )
