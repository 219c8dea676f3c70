"""How many parameters each model has, counted once on tensors without data and kept in a file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.sweep.child import in_child
from benchmarks.sweep.subject import parameters_of

UNKNOWN = 1 << 40
"""For a model that cannot be made without data: it comes last in its family."""


def known(file: Path) -> dict[str, int]:
    """name → parameters, as far as a file has them."""
    counts: dict[str, int] = {}
    if file.is_file():
        for line in file.read_text().splitlines():
            with contextlib.suppress(ValueError):  # cut off by a kill
                counts |= json.loads(line)
    return counts


def counted(names: Sequence[str], file: Path, memory: int) -> Mapping[str, int]:
    """name → parameters; counts what `file` does not have yet, in a process of its own, and adds it line by line."""
    there = known(file)
    left = [n for n in names if n not in there]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        for row in in_child("", left, memory=memory, seconds=60, work=_count):
            counts = {row["recipe"]: row.get("parameters", UNKNOWN)}
            print(json.dumps(counts), file=out, flush=True)
            there |= counts
    return there


def _count(_: str, names: Sequence[str]) -> Iterable[dict[str, Any]]:
    for name in names:
        try:
            yield {"recipe": name, "parameters": parameters_of(name)}
        except Exception:  # a model that cannot be made has no count; the sweep itself says why
            yield {"recipe": name, "parameters": UNKNOWN}
