"""`make growth`: how the cost of surgery and of an evaluation grows, as curves and as exponents.

Prints a table: time ~ size^exponent, fitted on the upper half of the sizes, where constants no longer count.
An exponent near 1 is linear, below it something constant weighs, above it the curve bends. Writes
runs/growth.json and a picture.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import linregress
from torch import Tensor, nn

import surgeon
from benchmarks.timing import Task
from surgeon.disk.files import write_json
from surgeon.evaluation import evaluate
from surgeon.results.threat import Attack

STEPS = 20


@dataclass(frozen=True)
class Curve:
    """Median seconds by size."""

    what: str
    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Of time against size, on the upper half."""
        half = (len(self.sizes) - 1) // 2
        logs = [
            torch.tensor(v[half:], dtype=torch.float64).log().tolist() for v in (self.sizes, self.seconds)
        ]
        return float(linregress(*logs).slope)


class Chain(nn.Module):
    """`depth` times convolution, batch norm and activation, then classes."""

    def __init__(self, depth: int, width: int = 16) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for k in range(depth):
            blocks += [
                nn.Conv2d(3 if not k else width, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def curves(small: bool, repeats: int) -> Iterator[Curve]:
    """All of them, each measured with its sizes in turn."""
    double = (2, 4) if small else (8, 16, 32, 64, 128)
    yield _curve("plan + apply kap", "layers", double, lambda n: _surgery(Chain(n), 32), repeats)
    chain = Chain(double[-1])
    yield _curve(
        "plan + apply kap",
        f"edits of {double[-1]} layers",
        double,
        lambda n: _surgery(chain, 32, limit=n),
        repeats,
    )
    widths = (16, 32) if small else (32, 64, 128, 256, 512)
    yield _curve(
        "plan + apply kap", "channels of 8 layers", widths, lambda n: _surgery(Chain(8, n), 32), repeats
    )
    pixels = (8, 16) if small else (32, 64, 128, 256, 512)
    yield _curve(
        "plan + apply kap", "pixels a side, 8 layers", pixels, lambda n: _surgery(Chain(8), n), repeats
    )
    images = (4, 8) if small else (32, 64, 128, 256, 512)
    yield _curve("evaluation, PGD", "images", images, lambda n: _attack(n, 2 if small else STEPS), repeats)
    steps = (1, 2) if small else (10, 20, 40, 80, 160)
    yield _curve("evaluation, PGD", "steps", steps, lambda n: _attack(4 if small else 64, n), repeats)
    yield Curve("evaluation, PGD", "processes", (1, 2), tuple(_in_processes(n, small) for n in (1, 2)))


def _surgery(model: nn.Module, side: int, limit: int | None = None) -> Task:
    recipe = (
        {"op": "kap"}
        if limit is None
        else {"op": "kap", "select": {"include": [f"body.{3 * k}" for k in range(limit)]}}
    )
    return lambda: surgeon.apply(model, recipe, input_size=(3, side, side))


def _attack(images: int, steps: int) -> Task:
    torch.manual_seed(0)
    model = Chain(4, 8).eval()
    x = torch.rand(images, 3, 16, 16)
    with torch.no_grad():
        y = model(x).argmax(1)
    attack = Attack(
        name="pgd", kind="own-pgd", eps=1e-6, steps=steps, early_stop=False
    )  # too weak to end early
    return lambda: evaluate(model, x, y, [attack])


def _in_processes(number: int, small: bool) -> float:
    """Seconds of the same evaluation, dealt to processes of one thread each."""
    launch = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(number),
        "--standalone",
        "-m",
        "benchmarks.growth",
    ]
    done = subprocess.run(
        [sys.executable, *launch, "--process", *(["--small"] if small else [])],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return float(done.stdout.split()[-1])


def _process(small: bool) -> None:
    """What each of those does; the first one prints the seconds."""
    from accelerate import PartialState

    state = PartialState(cpu=True)
    task = _attack(128 if small else 512, 1 if small else STEPS)
    task()
    state.wait_for_everyone()
    began = time.perf_counter()
    task()
    state.wait_for_everyone()
    if state.is_main_process:
        print(time.perf_counter() - began, flush=True)
    state.wait_for_everyone()
    os._exit(0)  # torch's gloo may abort where the interpreter tears it down


def _curve(what: str, axis: str, sizes: Sequence[int], task: Callable[[int], Task], repeats: int) -> Curve:
    tasks = [task(n) for n in sizes]
    taken: list[list[float]] = [[] for _ in sizes]
    for turn in range(repeats + 1):
        for times, run in zip(taken, tasks, strict=True):
            began = time.perf_counter()
            run()
            if turn:
                times.append(time.perf_counter() - began)
    return Curve(what, axis, tuple(sizes), tuple(map(statistics.median, taken)))


def draw(measured: Sequence[Curve], path: Path) -> None:
    """One panel a curve, both axes logarithmic, with a straight line of slope 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 3, figsize=(10, 5.5), layout="constrained")
    for panel, curve in zip(panels.flat, [c for c in measured if c.axis != "processes"], strict=True):
        panel.loglog(curve.sizes, curve.seconds, "o-", color="#1f77b4")
        last = curve.seconds[-1] / curve.sizes[-1]
        panel.loglog(curve.sizes, [last * n for n in curve.sizes], ":", color="0.6")
        panel.set(title=f"{curve.what}: exponent {curve.exponent:.2f}", xlabel=curve.axis, ylabel="seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main() -> None:
    """Measure, print, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="sizes for a test")
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--process", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.process:
        _process(given.small)
    measured = list(curves(given.small, given.repeats))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "against", "sizes", "seconds", "exponent"):
        table.add_column(column, justify="right" if column == "exponent" else "left")
    for c in measured:
        shown = ", ".join(f"{s:.3g}" for s in c.seconds)
        table.add_row(c.what, c.axis, ", ".join(map(str, c.sizes)), shown, f"{c.exponent:.2f}")
    Console(width=130).print(table)
    given.output.mkdir(parents=True, exist_ok=True)
    write_json(given.output / "growth.json", [asdict(c) | {"exponent": c.exponent} for c in measured])
    draw(measured, given.output / "growth.png")


if __name__ == "__main__":
    main()
