"""Planning and applying against creating the network."""

from __future__ import annotations

from collections.abc import Iterator

import timm
import torch

import surgeon
from benchmarks.timing import Asked, Row, Task, compare
from surgeon.surgery.drift import compare_logits

BARS = {"kap": 2.0, "anl": 2.0, "noise": 2.0, "defective": 1.2}


def measure(asked: Asked) -> Iterator[Row]:
    """ResNet-50 at its own size; the bar in seconds is 3."""
    name = "resnet18" if asked.small else "resnet50"
    stock = timm.create_model(name)
    tasks: dict[str, tuple[Task, float | None]] = {
        f"plan + apply {r}": (lambda r=r: surgeon.apply(stock, r), bar) for r, bar in BARS.items()
    }
    rewritten, images = surgeon.apply(stock, "defective"), torch.randn(2, 3, 224, 224)
    tasks["the drift of defective, alone"] = (lambda: compare_logits(stock, rewritten, images, "noise"), None)
    yield from compare(
        f"surgery, {name}", "timm.create_model", lambda: timm.create_model(name), tasks, min(asked.repeats, 5)
    )
