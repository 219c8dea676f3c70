"""How many parameters each model has, counted once on tensors without data and kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.sweep.child import in_child
from benchmarks.sweep.subject import parameters_of

UNKNOWN = 1 << 40
"""For a model that cannot be made without data: it comes last in its family."""


def counted(names: Sequence[str], file: Path, memory: int) -> Mapping[str, int]:
    """name → parameters; counts what `file` does not have yet, in a process of its own, and adds it."""
    known: dict[str, int] = json.loads(file.read_text()) if file.is_file() else {}
    left = [n for n in names if n not in known]
    if left:
        known |= dict.fromkeys(left, UNKNOWN)
        known |= {r["model"]: r["parameters"] for r in in_child("", left, memory=memory, seconds=60, work=_count) if "parameters" in r}  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known, indent=0) + "\n")
    return known


def _count(_: str, names: Sequence[str]) -> Iterable[dict[str, Any]]:
    for name in names:
        try:
            yield {"model": name, "parameters": parameters_of(name)}
        except Exception:
            yield {"model": name, "parameters": UNKNOWN}
