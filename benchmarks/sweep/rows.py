"""The file of rows: one line of JSON a pair, written whole; what a kill left half-written does not count.

The files in `found/` are kept with the code, so that the pages can be made again and a later sweep goes on from them:
a line has what the pages need. A row's family is told by its model, and stages that are ok are words of one text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.sweep.order import family_of

Row = dict[str, Any]
FOUND = Path(__file__).with_name("found")
PAIRS, PLANS, SIZES = (FOUND / f"{name}.jsonl" for name in ("pairs", "plans", "parameters"))
"""Pairs that went through the stages; pairs that were planned alone; how many parameters each model has."""
_UNSAID = {"cause": "", "stages": "", "edits": 0}
"""What a line does not say."""


def read(path: Path) -> list[Row]:
    """The rows, the last one of each pair; [] where there is no file."""
    if not path.is_file():
        return []
    latest: dict[tuple[str, str], Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = unpacked(json.loads(line))
        except ValueError:
            continue
        latest[row["model"], row["recipe"]] = row
    return list(latest.values())


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows, on lines of their own even after a line that a kill cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" if torn else "")
        file.writelines(json.dumps(packed(r), separators=(",", ":")) + "\n" for r in rows)


def packed(row: Row) -> Row:
    """A row as its line has it."""
    stages = (s if result == "ok" else f"{s}={result}" for s, result in row["stages"].items())
    said = row | {"stages": " ".join(stages)}
    if said.get("family") == family_of(row["model"]):
        del said["family"]
    return {k: v for k, v in said.items() if k not in _UNSAID or v != _UNSAID[k]}


def unpacked(line: Row) -> Row:
    """The row of a line."""
    row = {"family": family_of(line["model"]), **_UNSAID, **line}
    parts = (word.partition("=") for word in row["stages"].split())
    return row | {"stages": {stage: result or "ok" for stage, _, result in parts}}
