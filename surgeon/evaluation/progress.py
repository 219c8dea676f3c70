"""Progress of an evaluation: a bar with rate and time left on a terminal, a plain line now and then otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from surgeon.processes import first

EVERY = 15.0
"""Seconds between plain lines."""


def progress() -> Callable[[str, int, int], None]:
    """A function of (what, done, total), for this process's standard error; silent in all but the first process."""
    if not first():
        return lambda what, done, total: None
    return _Bar() if sys.stderr.isatty() else _Lines()


class _Lines:
    def __init__(self) -> None:
        self.what, self.began, self.last = "", 0.0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.last = what, now, now
            return
        if done < total and now - self.last < EVERY:
            return
        self.last = now
        rate = done / max(now - self.began, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if 0 < done < total else f", {now - self.began:.0f} s"
        print(f"{what}: {done} of {total}, {rate:.2g} a second{left}", file=sys.stderr, flush=True)


class _Bar:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(), console=Console(stderr=True),
        )  # fmt: skip
        self.tasks: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self.tasks:
            self.bar.start()
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(what, total=total)
        self.bar.update(self.tasks[what], completed=done, total=total)  # type: ignore[arg-type]  # keys of rich, kept by what they are of
        if all(task.finished for task in self.bar.tasks):
            self.bar.refresh()
            self.bar.stop()
            self.tasks = {}
            for task in list(self.bar.task_ids):
                self.bar.remove_task(task)
