"""Which images a job takes, in one line on standard error, before it begins."""

from __future__ import annotations

import sys
from typing import Any

from surgeon.data import Sets
from surgeon.processes import first

_CALLED = {"digits": "scikit-learn's scanned digits"}


def of_training(label: str, source: str, sets: Sets) -> None:
    """The images of a training, and those that it leaves for testing."""
    parts = ((sets.train, "to train on"), (sets.val, "for validation"), (sets.test, "for testing"))
    counts = [f"{n:,} {what}" for part, what in parts if (n := _count(part))]
    _say(label, f"{_source(source)}: {', '.join(counts)}")


def of_testing(label: str, source: str, split: str, count: int) -> None:
    """The images of an evaluation."""
    _say(label, f"{_source(source)}: {count:,} of the {split} split")


def of_conversion(label: str, source: str, calibration: int, testing: int) -> None:
    """The images of a conversion: those that calibrate, and labelled ones that accuracy is measured on."""
    _say(
        label,
        f"{_source(source)}: {calibration:,} to calibrate, {testing:,} test images to measure accuracy on",
    )


def _source(source: str) -> str:
    return _CALLED.get(source, source)


def _count(part: Any) -> int | None:
    """How many images; None for a stream, which does not know, and where there are none."""
    try:
        return len(part.x if hasattr(part, "x") else part)
    except TypeError:
        return None


def _say(label: str, text: str) -> None:
    if first():
        print(f"{label}: images: {text}", file=sys.stderr, flush=True)
