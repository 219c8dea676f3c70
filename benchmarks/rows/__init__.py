"""What is measured, one subject a file: `comparisons(asked)` gives tasks and their baseline, to be timed or
profiled, and `measure(asked)` lines of the table that come about otherwise."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from benchmarks.timing import Asked, Comparison, Row


def comparisons(group: str, asked: Asked) -> Iterator[Comparison]:
    """The comparisons of one subject, networks and inputs made as they are asked for."""
    module = importlib.import_module(f"benchmarks.rows.{group}")
    if hasattr(module, "comparisons"):
        yield from module.comparisons(asked)


def measured(group: str, asked: Asked) -> Iterator[Row]:
    """The lines of one subject."""
    for one in comparisons(group, asked):
        yield from one.rows()
    module = importlib.import_module(f"benchmarks.rows.{group}")
    if hasattr(module, "measure"):
        yield from module.measure(asked)
