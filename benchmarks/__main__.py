"""`make bench`: what surgery, training and evaluation cost, as ratios against a named baseline in the same run.

Prints one table and writes one JSON, runs/bench.json, with machine and versions; groups that are measured again replace
their lines in it. `python -m benchmarks maps startup` measures these groups alone, `--device cuda` those that
a GPU bears on, into runs/bench-cuda.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from rich.table import Table

import surgeon
from benchmarks.ceilings import caches, ceilings
from benchmarks.timing import Asked, Row
from surgeon.disk.files import write_json
from surgeon.machine import processor

GROUPS = (
    "networks",
    "formats",
    "maps",
    "cutting",
    "starts",
    "startup",
    "loading",
    "certificates",
    "attacks",
    "verdicts",
)
ON_GPU = ("networks", "formats", "compiled", "maps", "certificates", "attacks")
"""Those that a GPU bears on."""
ALL = tuple(dict.fromkeys((*GROUPS, *ON_GPU)))
BENCH = {"cpu": Path("runs/bench.json"), "cuda": Path("runs/bench-cuda.json")}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "groups", nargs="*", choices=[[], *ALL], help=f"of {', '.join(ALL)}; by default those of the device"
    )
    parser.add_argument("--repeats", type=int, default=9, help="turns, of which the median is told")
    parser.add_argument("--images", type=int, default=200, help="of the group attacks")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--small", action="store_true", help="sizes for a test, whose ratios mean nothing")
    parser.add_argument("--output", type=Path, help="by default runs/bench.json, or runs/bench-cuda.json")
    given = parser.parse_args()
    output = given.output or BENCH[given.device]
    if given.repeats < 2 and not given.small:
        parser.error("--repeats: one turn is one cold call, which measures nothing; 2 or more")
    asked = Asked(given.repeats, given.small, given.device, given.images)
    console = Console(width=150)
    for group in given.groups or (GROUPS if given.device == "cpu" else ON_GPU):
        console.print(f"measuring {group}", style="dim", highlight=False)
        rows: list[Row] = []
        first = not (output.is_file() and group in json.loads(output.read_text())["groups"])
        for row in importlib.import_module(f"benchmarks.rows.{group}").measure(asked):
            rows.append(row)
            if first:  # where there are no lines to lose, each as it comes
                _keep(output, group, rows, given.device)
        _keep(output, group, rows, given.device)
    known = json.loads(output.read_text())
    console.print(table([Row(**r) for g in known["groups"].values() for r in g["rows"]]))


def table(rows: list[Row]) -> Table:
    """One line a row; × says how many times the baseline's time, or where more is better how many times as fast."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "", "against", "ratio", "quartiles", "bar", "ms", "baseline ms", "note"):
        made.add_column(
            column, justify="right" if column in ("ratio", "bar", "ms", "baseline ms") else "left"
        )
    for r in rows:
        bar = "" if r.bar is None else f"{'≥' if r.more else '≤'} {r.bar:g}{'' if r.kept else ' missed'}"
        times = [f"{1e3 * t:.3g}" if t else "" for t in (r.seconds, r.baseline)]
        made.add_row(
            r.group, r.what, r.against, f"{r.ratio:.2f}", f"{r.low:.2f}–{r.high:.2f}", bar, *times, r.note
        )
    return made


def _keep(path: Path, group: str, rows: list[Row], device: str) -> None:
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"groups": {}}
    known["groups"][group] = {"made": _made(device), "rows": [asdict(r) for r in rows]}
    known["groups"] = {g: known["groups"][g] for g in ALL if g in known["groups"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, known)


def _made(device: str) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device)
        if device != "cpu"
        else processor(),
        **({} if device != "cpu" else {"caches": caches()}),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "GFLOP/s of torch.mm": round(ceilings(device)[0] / 1e9, 1),
        "GB/s of a copy": round(ceilings(device)[1] / 1e9, 1),
        "surgeon": surgeon.__version__,
        "torch": str(torch.__version__),
        "timm": timm.__version__,
    }


if __name__ == "__main__":
    main()
