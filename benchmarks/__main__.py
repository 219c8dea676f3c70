"""`make bench`: what surgery costs, as ratios against the stock network in the same run.

Prints one table and writes one JSON, runs/bench.json, with machine and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy

import surgeon
from surgeon.training import adversarial_noise

SIZE = (3, 32, 32)


def median_times(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each task; the tasks take turns, so that a slow moment falls on all of them."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            if turn:  # the first turn warms up
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(batch: int, repeats: int) -> list[dict[str, object]]:
    """All rows: what, against what, the ratio, both times in seconds."""
    torch.manual_seed(0)
    stock = timm.create_model("resnet18", num_classes=10)
    x, y = torch.randn(batch, *SIZE), torch.randint(0, 10, (batch,))
    cut = {
        r: surgeon.apply(stock, r, input_size=SIZE) for r in ("kap", "anl", "canl", "defective", "wm-unsharp")
    }
    folded = surgeon.fold(cut["kap"])

    def forward(model: torch.nn.Module) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return model.eval()(x)

        return run

    def step(model: torch.nn.Module) -> Callable[[], object]:
        def run() -> None:
            model.train().zero_grad()
            with adversarial_noise(model, x, y, cross_entropy):
                cross_entropy(model(x), y).backward()

        return run

    rows = []
    inference = median_times(
        {"stock": forward(stock), "kap folded": forward(folded), "kap": forward(cut["kap"]), "defective": forward(cut["defective"])},
        repeats,
    )  # fmt: skip
    rows += [
        _row(f"{n}, inference", "stock", t, inference["stock"]) for n, t in inference.items() if n != "stock"
    ]
    training = median_times({"stock": step(stock), **{n: step(m) for n, m in cut.items()}}, repeats)
    rows += [
        _row(f"{n}, training step", "stock", t, training["stock"])
        for n, t in training.items()
        if n != "stock"
    ]
    large = timm.create_model("resnet50")
    build = median_times(
        {"create": lambda: timm.create_model("resnet50"), "cut": lambda: surgeon.apply(large, "kap")},
        min(repeats, 3),
    )
    rows.append(_row("plan + apply kap, ResNet-50", "timm.create_model", build["cut"], build["create"]))
    return rows


def _row(what: str, against: str, seconds: float, baseline: float) -> dict[str, object]:
    return {
        "what": what,
        "against": against,
        "ratio": seconds / baseline,
        "seconds": seconds,
        "baseline": baseline,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("runs/bench.json"))
    given = parser.parse_args()
    rows = measure(given.batch, given.repeats)
    table = Table(
        box=None, pad_edge=False, header_style="bold", title=f"ResNet-18 at 32 px, batch {given.batch}"
    )
    for column in ("what", "against", "ratio", "ms", "baseline ms"):
        table.add_column(column, justify="left" if column in ("what", "against") else "right")
    for r in rows:
        table.add_row(
            r["what"],
            r["against"],
            f"{r['ratio']:.2f}",
            f"{1e3 * r['seconds']:.0f}",
            f"{1e3 * r['baseline']:.0f}",
        )
    Console(width=110).print(table)
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    versions = {"surgeon": surgeon.__version__, "torch": str(torch.__version__), "timm": timm.__version__}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(
        json.dumps({"machine": machine, "versions": versions, "rows": rows}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
