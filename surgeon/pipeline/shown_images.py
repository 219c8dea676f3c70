"""Report which images a job uses, in one line on standard error, before it begins."""

from __future__ import annotations

import sys
from typing import Any

from surgeon.data import Sets
from surgeon.processes import first

_CALLED = {"digits": "scikit-learn's scanned digits"}


def of_training(label: str, source: str, sets: Sets) -> None:
    """Report the images of a training, and those that it leaves for testing.

    Args:
        label: heads the line.
        source: the source's name.
        sets: the images.
    """
    parts = ((sets.train, "to train on"), (sets.val, "for validation"), (sets.test, "for testing"))
    counts = [f"{n:,} {what}" for part, what in parts if (n := _count(part))]
    _say(label, f"{_source(source)}: {', '.join(counts)}")


def remark(label: str, text: str) -> None:
    """Report what is odd about the images of a training.

    Args:
        label: heads the line.
        text: the sentence.
    """
    _say(label, text)


def of_testing(label: str, source: str, split: str, count: int) -> None:
    """Report the images of an evaluation.

    Args:
        label: heads the line.
        source: the source's name.
        split: the split that they come from.
        count: their number.
    """
    _say(label, f"{_source(source)}: {count:,} of the {split} split")


def of_conversion(label: str, source: str, calibration: int, testing: int) -> None:
    """Report the images of a conversion.

    Args:
        label: heads the line.
        source: the sources' names.
        calibration: number of calibration images.
        testing: number of labelled images on which accuracy is measured.
    """
    _say(
        label,
        f"{_source(source)}: {calibration:,} to calibrate, {testing:,} test images to measure accuracy on",
    )


def _source(source: str) -> str:
    return _CALLED.get(source, source)


def _count(part: Any) -> int | None:
    """The number of images; None for a stream, whose length is unknown, and for a missing set."""
    try:
        return len(part.x if hasattr(part, "x") else part)
    except TypeError:
        return None


def _say(label: str, text: str) -> None:
    if first():
        print(f"{label}: images: {text}", file=sys.stderr, flush=True)
