"""Planning and applying against creating the network."""

from __future__ import annotations

from collections.abc import Iterator

import timm

import surgeon
from benchmarks.timing import Asked, Row, compare

RECIPES = ("kap", "anl", "noise", "defective")


def measure(asked: Asked) -> Iterator[Row]:
    """ResNet-50 at its own size; the bar in seconds is 3."""
    name = "resnet18" if asked.small else "resnet50"
    stock = timm.create_model(name)
    tasks = {f"plan + apply {r}": (lambda r=r: surgeon.apply(stock, r), 2.0) for r in RECIPES}
    yield from compare(
        f"surgery, {name}", "timm.create_model", lambda: timm.create_model(name), tasks, min(asked.repeats, 5)
    )
