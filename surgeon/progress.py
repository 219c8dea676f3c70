"""Show the progress of long work: a bar in a terminal, plain lines at a steady interval elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from surgeon.numerals import duration, pace
from surgeon.processes import first

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 15.0
"""Seconds between plain lines."""


_SHOWN: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("what shows progress", default=None)


@contextlib.contextmanager
def shown_by(show: Callable[[str, int, int], None]) -> Iterator[None]:
    """Inside, `tell` and `step` report to `show`. Deeply nested work need not know whether anybody watches.

    Args:
        show: called with part, done, total.
    """
    token = _SHOWN.set(show)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def tell(part: str, done: int, total: int) -> None:
    """Report how much of a part is done, if somebody watches (`shown_by`).

    Args:
        part: the part's name.
        done: how much of it is done.
        total: how much there is.
    """
    show = _SHOWN.get()
    if show is not None:
        show(part, done, total)


@contextlib.contextmanager
def step(part: str) -> Iterator[None]:
    """Report a part that is done when the block ends without an error.

    Args:
        part: the part's name.
    """
    tell(part, 0, 1)
    yield
    tell(part, 1, 1)


def progress(label: str = "") -> Silent:
    """Make what shows progress on standard error; use it in a `with` and call it with (part, done, total).

    Args:
        label: heads the lines.

    Returns:
        A bar in a terminal, plain lines elsewhere, and nothing in all processes but the first.
    """
    if not first():
        return Silent()
    return Bars(label) if sys.stderr.isatty() else Lines(label)


class Silent:
    """Shows no progress."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the terminal."""

    def __call__(self, part: str, done: int, total: int) -> None:
        """Accept a report and show nothing."""


class Lines(Silent):
    """Plain lines with the label in front: at a part's beginning and end, and every few seconds in between.

    Reports of several parts may alternate; the time of each counts from its beginning.
    """

    def __init__(self, label: str = "", file: IO[str] | None = None) -> None:
        self.head, self.file = f"{label}: " if label else "", file
        self.part, self.done, self.total = "", 0, 0
        self.began = self.last = time.monotonic()
        self.before = 0
        self.open: dict[str, tuple[float, int]] = {}
        self.lock, self.over = threading.Lock(), threading.Event()

    def __enter__(self) -> Lines:
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()

    def __call__(self, part: str, done: int, total: int) -> None:
        with self.lock:
            now = time.monotonic()
            if part != self.part:
                new = part not in self.open
                self.open.setdefault(part, (now, done))
                self.part, (self.began, self.before) = part, self.open[part]
                if done < total and new:
                    self._print(f"{part}{f', {total} in all' if total > 1 else ''}", now)
            self.done, self.total = done, total
            if done >= total:
                count = f"{total} of {total}" if total > 1 else "done"
                self._print(f"{part}: {count}, {duration(now - self.began)}", now)
                self.open.pop(part, None)
            elif now - self.last >= EVERY:
                self._print(self._state(now), now)

    def _beat(self) -> None:
        """Print a line also where nothing is reported for a long time."""
        while not self.over.wait(max(0.1, min(EVERY, self.last + EVERY - time.monotonic()))):
            with self.lock:
                now = time.monotonic()
                if self.part and self.done < self.total and now - self.last >= EVERY:
                    self._print(self._state(now), now)

    def _state(self, now: float) -> str:
        seconds, made = now - self.began, self.done - self.before
        if not made:
            return f"{self.part}: at it for {duration(seconds)}"
        left = duration((self.total - self.done) * seconds / made)
        return f"{self.part}: {self.done} of {self.total}, {pace(made, seconds)}, {left} left"

    def _print(self, text: str, now: float) -> None:
        self.last = now
        print(self.head + text, file=self.file or sys.stderr, flush=True)


class Bars(Silent):
    """A bar for each part, below the label."""

    def __init__(self, label: str = "") -> None:
        self.bar = bar(sys.stderr)
        self.label = label
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Bars:
        if self.label:
            self.bar.console.print(self.label, markup=False, highlight=False)
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, part: str, done: int, total: int) -> None:
        if part not in self.tasks:
            self.tasks[part] = self.bar.add_task(part, total=total, completed=done)
        elif done == 0 and self.bar.tasks[self.tasks[part]].finished:
            self.bar.reset(self.tasks[part], total=total)  # the same part of the next job
        self.bar.update(self.tasks[part], completed=done, total=total)


def bar(file: IO[str]) -> Progress:
    """Make rich's progress bar, with columns that fit into 80 characters.

    Args:
        file: where it is shown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Time(ProgressColumn):
        """The rate and the time left; of finished work, the time that it took."""

        def render(self, task: Task) -> Text:
            """The column's text."""
            if task.finished:
                return Text(duration(task.finished_time or 0))
            if not task.speed or task.time_remaining is None:
                return Text(duration(task.elapsed or 0))
            return Text(f"{pace(task.speed, 1)}, {duration(task.time_remaining)} left")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        Time(),
        console=Console(file=file),
    )
