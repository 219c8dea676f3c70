"""What was measured, one file a machine: `benchmarks/measured/NAME.json`, of which docs/performance.md is made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bars import barred
from benchmarks.timing import Row
from surgeon.disk.files import write_json

MEASURED = Path("benchmarks/measured")


@dataclass(frozen=True)
class Machine:
    """A machine and its lines.

    name: short, of its processor or graphics card. kind: cpu or cuda. made: what each group of lines was measured
    with. rows: the lines, with the bars of today. source: where the lines come from, if not from a run.
    """

    name: str
    kind: str
    made: tuple[dict[str, Any], ...]
    rows: tuple[Row, ...]
    source: str = ""


def name_of(device: str) -> str:
    """A device's name as a file's: `Intel(R) Xeon(R) Processor (AVX512)` → `intel-xeon-avx512`."""
    bare = re.sub(r"\((r|tm)\)|\bprocessor\b", " ", device.lower())
    return re.sub(r"[^a-z0-9]+", "-", bare).strip("-")


def keep(record: dict[str, Any], kind: str, folder: Path = MEASURED) -> list[Path]:
    """Write a run's groups to the file of the machine that each was measured on; other groups of that file stay.

    Args:
        record: runs/bench.json or runs/bench-cuda.json.
        kind: cpu or cuda.
        folder: where the files are.

    Returns:
        The files that were written.
    """
    written: dict[Path, dict[str, Any]] = {}
    for group, content in record["groups"].items():
        path = folder / f"{name_of(content['made']['device'])}.json"
        if path not in written:
            known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"groups": {}}
            written[path] = known | {"kind": kind}
        written[path]["groups"][group] = content
    for path, content in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
    return list(written)


def read(folder: Path = MEASURED) -> list[Machine]:
    """All machines, in the order of their names."""
    return [_machine(path) for path in sorted(folder.glob("*.json"))]


def _machine(path: Path) -> Machine:
    record = json.loads(path.read_text(encoding="utf-8"))
    kind, groups = record["kind"], record["groups"].values()
    rows = tuple(barred(Row(**row), kind) for group in groups for row in group["rows"])
    return Machine(path.stem, kind, tuple(g["made"] for g in groups), rows, record.get("source", ""))


def lines_of(machines: Iterable[Machine]) -> dict[tuple[str, str, str], dict[str, Row]]:
    """(group, task, baseline) → machine → its line, in the order of the machine that has most lines."""
    by_line: dict[tuple[str, str, str], dict[str, Row]] = {}
    for machine in sorted(machines, key=lambda m: -len(m.rows)):
        for row in machine.rows:
            by_line.setdefault((row.group, row.what, row.against), {})[machine.name] = row
    return by_line


def group_of(rows: Iterable[Row], made: dict[str, Any]) -> dict[str, Any]:
    """A group as files hold it."""
    return {"made": made, "rows": [asdict(r) for r in rows]}
