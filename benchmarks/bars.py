"""What each line is aimed at. One table, so that a bar that changes changes for what was measured before, too."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from benchmarks.timing import Row

BARS: tuple[tuple[str, str, str, float | tuple[float, float]], ...] = (
    ("inference, *", "KAP folded", "stock", 1.02),
    ("inference, *", "defective", "stock", 1.02),
    ("training step, *", "KAP, σ=0", "stock", 1.04),
    ("training step, *", "KAP, σ=0.1", "stock", 1.10),
    ("training step, *", "defective", "stock", 1.02),
    ("training step, *", "ANL", "stock", (1.70, 1.75)),
    ("training step, *", "CANL", "stock", 1.06),
    ("weight map, forward", "smoothing, *", "the equations as written", 5.0),
    ("weight map, forward", "unsharp, *", "the equations as written", 50.0),
    ("weight map, forward", "*", "torch.bmm", 1.5),
    ("weight map, forward and backward", "*", "torch.bmm", 1.4),
    ("weight map, peak memory", "*", "*", 1.5),
    ("surgery, *", "plan + apply defective", "*", 1.2),
    ("surgery, *", "plan + apply *", "*", 2.0),
    ("start", "surgeon --help", "*", 0.3),
    ("start", "import surgeon", "*", 1.3),
    ("surgeon.load", "folder of *", "*", 1.3),
    ("certification, samples a second", "*", "*", 0.9),
    ("evaluation, suite standard", "*", "*", 2.0),
    ("evaluation, who knows the cut", "*", "*", 1.6),
    ("evaluation, accuracy by ε", "*", "*", 5.0),
)
"""Patterns of group, task and baseline → the bar, or the bars on a CPU and on a GPU. The first that fits holds."""


def bar_of(group: str, what: str, against: str, device: str) -> float | None:
    """The bar of a line, None if it has no bar. On a CPU no other form of running than the plain one has a bar.

    Args:
        group: the line's first column.
        what: the task.
        against: the baseline.
        device: cpu or cuda.
    """
    if device == "cpu" and "channels_last" in group:
        return None
    for of_group, of_what, of_against, bar in BARS:
        fits = (
            fnmatchcase(group, of_group) and fnmatchcase(what, of_what) and fnmatchcase(against, of_against)
        )
        if fits:
            return bar[device != "cpu"] if isinstance(bar, tuple) else bar
    return None


def barred(row: Row, device: str) -> Row:
    """The line with the bar that it has today."""
    return replace(row, bar=bar_of(row.group, row.what, row.against, device))
