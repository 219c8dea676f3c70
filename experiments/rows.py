"""Rows of a table: each (row, seed) is trained once, into a folder of its own, and read from there the next time."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from surgeon.disk.files import write_json
from surgeon.ownership import locked

RESULT = "result.json"


def arguments(doc: str, out: str, **defaults: Any) -> argparse.Namespace:
    """The options that every table has, and its own numbers with their defaults."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--data", required=True, help="folder with MNIST/raw, cifar10-jpeg and the like")
    parser.add_argument("-o", "--output", default=f"runs/experiments/{out}", help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--only", nargs="*", help="rows to run")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def collect(
    rows: Mapping[str, Callable[[int, Path], dict[str, float]]], given: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """The figures of every row by seed: of those that have been run before, from their files."""
    if unknown := sorted(set(given.only or ()) - set(rows)):
        raise SystemExit(f"--only: there is no row {unknown[0]!r}; rows: {'; '.join(rows)}")
    collected: dict[str, dict[str, list[float]]] = {}
    for seed in range(given.seeds):
        for row, run in rows.items():
            folder = Path(given.output) / row.replace(" ", "-").replace("/", "-") / str(seed)
            if not (folder / RESULT).is_file():
                if given.only and row not in given.only:
                    continue
                with locked(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    torch.manual_seed(seed)
                    write_json(folder / RESULT, run(seed, folder))
            for name, value in json.loads((folder / RESULT).read_text()).items():
                collected.setdefault(row, {}).setdefault(name, []).append(value)
    return collected


def show(collected: Mapping[str, Mapping[str, Sequence[float]]], paper: Mapping[str, str]) -> None:
    """Print the table in Markdown: mean ± standard deviation over seeds."""
    names = list(dict.fromkeys(n for figures in collected.values() for n in figures))
    print("| row | paper | " + " | ".join(names) + " | seeds |")
    print("|---" * (len(names) + 3) + "|")
    for row, figures in collected.items():
        cells = [_cell(figures.get(n, [])) for n in names]
        print(
            f"| {row} | {paper.get(row, '–')} | "
            + " | ".join(cells)
            + f" | {len(next(iter(figures.values())))} |"
        )


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"
