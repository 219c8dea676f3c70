"""The sequential start of trained networks, against one forward pass of the same images."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import surgeon
from benchmarks.steps import forward
from benchmarks.timing import Asked, Row, Task, compare
from surgeon import create_model

SECONDS = 15.0
"""What is aimed at for KAP's start in a ResNet-56 with 512 images, on two cores."""


def measure(asked: Asked) -> Iterator[Row]:
    """KAP and defective masks in a ResNet-56 of 32 pixels; the bar is in seconds, and stands in the note."""
    name, count = ("zoo/cifar_resnet20", 8) if asked.small else ("zoo/cifar_resnet56", 512)
    torch.manual_seed(0)
    stock, images = create_model(name).eval(), torch.randn(count, 3, 32, 32)
    tasks: dict[str, tuple[Task, float | None]] = {
        f"sequential start, {r}": (
            lambda r=r: surgeon.apply(
                stock, r, input_size=(3, 32, 32), calibration=images, warm_start="sequential"
            ),
            None,
        )
        for r in ("kap", "defective")
    }
    against = f"a forward pass of {count} images"
    for row in compare(f"start, {name}", against, forward(stock, images), tasks, min(asked.repeats, 3)):
        kept = "" if asked.small or "kap" not in row.what else f"; aimed at ≤ {SECONDS:g} s"
        yield Row(**{**row.__dict__, "note": f"{row.seconds:.1f} s{kept}"})
