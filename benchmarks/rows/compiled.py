"""The steps of `formats.py` once more under torch.compile, against the stock network compiled too. Compiling
takes a minute or two a
network, so `make bench` leaves it out on a CPU: `python -m benchmarks compiled`."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.rows.formats import network
from benchmarks.steps import Form
from benchmarks.timing import Asked, Comparison


def comparisons(asked: Asked) -> Iterator[Comparison]:
    """ResNet-18 at 32 pixels and on a GPU ResNet-50 at 224, network by network. Small: by a backend that
    compiles nothing."""
    form = Form("bfloat16, channels_last, compiled", True, "eager" if asked.small else "inductor")
    if asked.device != "cpu" and not asked.small:
        yield from network("ResNet-50 at 224 px", "resnet50", 224, (form,), asked, singly=True)
    yield from network(
        "ResNet-18", "test_resnet" if asked.small else "resnet18", 32, (form,), asked, singly=True
    )
