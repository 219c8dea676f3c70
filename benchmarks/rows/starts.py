"""The sequential start of trained networks, against one forward pass of the same images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

import surgeon
from benchmarks.steps import forward
from benchmarks.timing import Asked, Comparison, Row, Task
from surgeon import create_model

SECONDS = 15.0
"""What is aimed at for KAP's start in a ResNet-56 with 512 images, on two cores."""


def comparisons(asked: Asked) -> Iterator[Comparison]:
    """KAP and defective masks in a ResNet-56 of 32 pixels; the bar is in seconds, and stands in the note."""
    name, count = ("zoo/cifar_resnet20", 8) if asked.small else ("zoo/cifar_resnet56", 512)
    torch.manual_seed(0)
    stock, images = create_model(name).eval(), torch.randn(count, 3, 32, 32)
    settings: dict[str, Any] = {
        "input_size": (3, 32, 32),
        "calibration": images,
        "warm_start": "sequential",
    }
    tasks: dict[str, Task] = {
        f"sequential start, {r}": lambda r=r: surgeon.apply(stock, r, **settings)
        for r in ("kap", "defective")
    }

    def note(row: Row) -> str:
        if asked.small or "kap" not in row.what:
            return f"{row.seconds:.1f} s"
        return f"{row.seconds:.1f} s; aimed at ≤ {SECONDS:g} s{', missed' * (row.seconds > SECONDS)}"

    against = f"a forward pass of {count} images"
    yield Comparison(
        f"start, {name}", against, forward(stock, images), tasks, min(asked.repeats, 3), note=note
    )
