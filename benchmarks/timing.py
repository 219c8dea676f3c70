"""Ratios: tasks that take turns in one process, so that a slow moment of the machine falls on all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch

Task = Callable[[], object]
TURN = 0.1
"""Seconds that a turn of a task takes at least, where `MOST` calls are enough for that."""
MOST = 20


@dataclass(frozen=True)
class Row:
    """A line of the table.

    ratio: median over the turns of the task's time by the baseline's in the same turn; low, high: its
    quartiles. seconds, baseline: median times. bar: the ratio that was aimed at; more: whether larger is
    better. note: what else was measured.
    """

    group: str
    what: str
    against: str
    ratio: float
    low: float
    high: float
    seconds: float
    baseline: float
    bar: float | None = None
    more: bool = False
    note: str = ""

    @property
    def kept(self) -> bool | None:
        """Whether the bar was kept; None without a bar."""
        if self.bar is None:
            return None
        return self.ratio >= self.bar if self.more else self.ratio <= self.bar


@dataclass(frozen=True)
class Asked:
    """What to measure: the device, how many turns, and sizes small enough for a test."""

    repeats: int = 9
    small: bool = False
    device: str = "cpu"
    images: int = 200


def turns(tasks: Mapping[str, Task], repeats: int) -> dict[str, list[float]]:
    """Seconds of each task in each turn; a first turn warms up, and each turn begins with another task.

    A task that is shorter than `TURN` runs several times in a turn, and its mean counts: one call alone would
    be a measure of what its neighbour left in the caches. One turn, as tests ask for, is one call, cold: it
    measures nothing.
    """
    _settle()
    names = list(tasks)
    often: dict[str, int] = {}
    for name in names if repeats > 1 else ():
        tasks[name]()
        often[name] = min(max(round(TURN / _seconds(tasks[name], 1)), 1), MOST)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        k = turn % len(names)
        for name in names[k:] + names[:k]:
            taken[name].append(_seconds(tasks[name], often.get(name, 1)))
    return taken


def _settle() -> None:
    """Have C's allocator keep what is freed, as it does in a process that has run for a while: it keeps as
    much as the largest
    block that was freed before, of up to 32 MB, and gives the rest back to be faulted in again, page by page."""
    torch.ones(31 << 20, dtype=torch.uint8)


def _seconds(task: Task, times: int) -> float:
    """The mean over that many calls."""
    _wait()
    began = time.perf_counter()
    for _ in range(times):
        task()
    _wait()
    return (time.perf_counter() - began) / times


def row(
    group: str,
    what: str,
    against: str,
    own: list[float],
    base: list[float],
    *,
    per: float = 1.0,
    more: bool = False,
    note: str = "",
) -> Row:
    """A line from the times of both. per: baseline's share of work in one of the task's. more: baseline
    by task instead."""
    ratios = [(b / a * per if more else a / b / per) for a, b in zip(own, base, strict=True)]
    low, middle, high = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    return Row(
        group,
        what,
        against,
        middle,
        low,
        high,
        statistics.median(own),
        statistics.median(base),
        more=more,
        note=note,
    )


@dataclass(frozen=True)
class Comparison:
    """Tasks that take turns with one baseline.

    tasks: what → task. repeats: turns. more: the lines say how many times as fast as the baseline. note: of a
    line, what else is to be said.
    """

    group: str
    against: str
    baseline: Task
    tasks: Mapping[str, Task]
    repeats: int
    more: bool = False
    note: Callable[[Row], str] = lambda _: ""

    def rows(self) -> Iterator[Row]:
        """Measure, and give a line for each task."""
        taken = turns({self.against: self.baseline, **self.tasks}, self.repeats)
        for what in self.tasks:
            timed = row(self.group, what, self.against, taken[what], taken[self.against], more=self.more)
            yield replace(timed, note=self.note(timed))


def captured(task: Task, device: str) -> Task:
    """The task as a CUDA graph, which leaves out what Python takes to launch its kernels; on a CPU the task itself."""
    if device == "cpu":
        return task
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # as torch's documentation of graphs has it
        for _ in range(3):
            task()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        task()
    return graph.replay


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
