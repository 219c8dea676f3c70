"""`python -m benchmarks.profile ROW`: where a line of the table spends its time, operation by operation.

ROW is `group/task`, such as "training step, ResNet-18/KAP, σ=0.1"; `list` names them all (of lines that differ in their
baseline alone, the second has its name behind). The task and its baseline are recorded by torch's profiler, which
slows both; what is done outside of torch's operations, in Python or in waiting for the processor, is a line of its
own. Largest differences first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.rows import comparisons
from benchmarks.timing import Asked, Comparison, Task

GROUPS = ("networks", "formats", "compiled", "maps", "cutting", "starts", "certificates")
"""Those that run in this process."""
OUTSIDE = "(outside of operations)"


@dataclass(frozen=True)
class Spent:
    """Seconds of an operation's own, without what it calls, and its calls; both of one call of the task."""

    seconds: float = 0.0
    calls: float = 0.0


@dataclass(frozen=True)
class Line:
    """An operation in the task and in its baseline, with its shares of either's time."""

    operation: str
    own: Spent
    base: Spent
    own_share: float
    base_share: float

    @property
    def more(self) -> float:
        """Seconds that the task spends beyond the baseline."""
        return self.own.seconds - self.base.seconds


def profiled(task: Task, times: int, device: str = "cpu") -> dict[str, Spent]:
    """Record a task that was run once before.

    Args:
        task: the task.
        times: calls that are recorded; the mean is told.
        device: cpu, or cuda for the seconds of its kernels.
    """
    cuda = device != "cpu"
    task()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiled:
        began = time.perf_counter()
        for _ in range(times):
            task()
        if cuda:
            torch.cuda.synchronize()
        wall = time.perf_counter() - began
    events = list(profiled.key_averages())
    if cuda:
        return _on_gpu(events, times)
    spent = {e.key: Spent(e.self_cpu_time_total / 1e6 / times, e.count / times) for e in events}
    spent[OUTSIDE] = Spent(max(0.0, wall / times - sum(s.seconds for s in spent.values())), 1)
    return spent


def _on_gpu(events: list[Any], times: int) -> dict[str, Spent]:
    """By operation; kernels by their own names where no operation called them, as in a CUDA graph."""
    kernels = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    operations = [e for e in events if e not in kernels and e.self_device_time_total > 0]
    return {
        e.key: Spent(e.self_device_time_total / 1e6 / times, e.count / times) for e in operations or kernels
    }


def compared(own: Mapping[str, Spent], base: Mapping[str, Spent]) -> list[Line]:
    """Side by side, the largest differences first."""
    whole = [sum(s.seconds for s in one.values()) or 1.0 for one in (own, base)]
    lines = []
    for name in {**own, **base}:
        a, b = own.get(name, Spent()), base.get(name, Spent())
        lines.append(Line(name, a, b, a.seconds / whole[0], b.seconds / whole[1]))
    return sorted(lines, key=lambda line: -abs(line.more))


def named(asked: Asked, groups: tuple[str, ...] = GROUPS) -> Iterator[tuple[str, Comparison, str]]:
    """(name, comparison, task) of each line that can be profiled; networks are made on the way. A name that an earlier
    line has is followed by the baseline."""
    known: set[str] = set()
    for group in groups:
        if group == "compiled" and asked.device == "cpu" and not asked.small:
            continue  # as in `make bench`: a compiler's minutes
        for one in comparisons(group, asked):
            for what in one.tasks:
                name = f"{one.group}/{what}"
                name += f"/{one.against}" * (name in known)
                known.add(name)
                yield name, one, what


def table(lines: list[Line], one: Comparison, what: str, most: int) -> Table:
    """The first `most` lines, and what the others come to."""
    made = Table(
        box=None, pad_edge=False, header_style="bold", title=f"{one.group}/{what}", title_justify="left"
    )
    made.add_column("operation", overflow="ellipsis", max_width=60, no_wrap=True)
    for column in (f"{what}: ms", "share", "calls", f"{one.against}: ms", "share", "calls", "more ms"):
        made.add_column(column, justify="right")
    for line in [*lines[:most], *_rest(lines[most:]), _sum(lines, "all")]:
        cells = []
        for spent, share in ((line.own, line.own_share), (line.base, line.base_share)):
            cells += [f"{1e3 * spent.seconds:.2f}", f"{share:.0%}", f"{spent.calls:g}"]
        made.add_row(line.operation, *cells, f"{1e3 * line.more:+.2f}")
    return made


def _rest(lines: list[Line]) -> list[Line]:
    return [_sum(lines, f"({len(lines)} others)")] if lines else []


def _sum(lines: list[Line], name: str) -> Line:
    own, base = (
        Spent(sum(s.seconds for s in some), sum(s.calls for s in some))
        for some in ([line.own for line in lines], [line.base for line in lines])
    )
    return Line(name, own, base, sum(x.own_share for x in lines), sum(x.base_share for x in lines))


def main() -> None:
    """Profile one line, or list them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", metavar="ROW", help="group/task, or list")
    parser.add_argument("--times", type=int, default=3, help="calls that are recorded (default %(default)s)")
    parser.add_argument(
        "--lines", type=int, default=15, help="operations that are shown (default %(default)s)"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--small", action="store_true", help="sizes for a test, whose times mean nothing")
    given = parser.parse_args()
    for option in ("times", "lines"):
        if getattr(given, option) < 1:
            parser.error(f"--{option}: {getattr(given, option)} is too few; 1 or more")
    console, names = Console(width=150), []
    for name, one, what in named(Asked(small=given.small, device=given.device)):
        names.append(name)
        if given.row == "list":
            console.print(name, highlight=False, markup=False)
        if name == given.row:
            spent = [profiled(task, given.times, given.device) for task in (one.tasks[what], one.baseline)]
            console.print(table(compared(*spent), one, what, given.lines))
            return
    if given.row != "list":
        near = get_close_matches(given.row, names, n=3, cutoff=0.3)
        parser.error(f"{given.row!r} is no line that can be profiled; near: {'; '.join(near) or 'see list'}")


if __name__ == "__main__":
    main()
