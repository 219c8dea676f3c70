"""The file of rows: one line of JSON a pair, written whole; what a kill left half-written does not count."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows, the last one of each pair; [] where there is no file."""
    if not path.is_file():
        return []
    found: dict[tuple[str, str], Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["model"], row["recipe"]] = row
    return list(found.values())


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows, on lines of their own even after a line that a kill cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" if torn else "")
        file.writelines(json.dumps(r) + "\n" for r in rows)
