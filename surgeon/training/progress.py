"""Progress of a training: a bar on a terminal, plain lines otherwise, and one line per epoch in both."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from surgeon.numerals import duration, pace, percent
from surgeon.progress import EVERY, bar

if TYPE_CHECKING:
    from surgeon.training.validation import Epoch


class Lines:
    """Progress as plain lines: one per epoch, and one now and then within a long epoch.

    Args:
        label: Text in front of each line.
        shown: Whether to print at all.
        total: Number of steps.
        done: Number of steps done before.
    """

    def __init__(self, label: str, shown: bool = True, total: int = 0, done: int = 0) -> None:
        self.label, self.shown = label, shown
        self.total, self.done, self.before = total, done, done
        self.began = self.last = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def advance(self) -> None:
        """Count one step as done."""
        self.done += 1
        now = time.monotonic()
        if self.shown and now - self.last >= EVERY and self.done < self.total:
            made, seconds = self.done - self.before, now - self.began
            left = duration((self.total - self.done) * seconds / made)
            self._print(f"step {self.done} of {self.total}, {pace(made, seconds)}, {left} left", now)

    def epoch(self, row: Epoch) -> None:
        """Print the figures of a finished epoch.

        Args:
            row: Its figures.
        """
        if self.shown:
            self._print(_line(row), time.monotonic())

    def _print(self, text: str, now: float) -> None:
        self.last = now
        print(f"{self.label}: {text}" if self.label else text, flush=True)


class Bar:
    """A rich progress bar over all steps, with the epochs above it.

    Args:
        total: Number of steps.
        done: Number of steps done before.
        label: Text above the bar.
    """

    def __init__(self, total: int, done: int, label: str) -> None:
        self.label = label
        self.progress = bar(sys.stdout)
        self.task = self.progress.add_task("training", total=total, completed=done)

    def __enter__(self) -> Bar:
        if self.label:
            self._print(self.label)
        self.progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.__exit__(kind, error, trace)

    def advance(self) -> None:
        """Count one step as done."""
        self.progress.advance(self.task)

    def epoch(self, row: Epoch) -> None:
        """Print the figures of a finished epoch.

        Args:
            row: Its figures.
        """
        self._print(_line(row))

    def _print(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)


def _line(row: Epoch) -> str:
    checked = "" if math.isnan(row.val_accuracy) else f"validation accuracy {percent(row.val_accuracy)}, "
    if not math.isnan(row.val_robust):
        checked += f"{percent(row.val_robust)} under attack, "
    return (
        f"epoch {row.epoch}: loss {row.loss:.4f}, {checked}"
        f"lr {row.lr:.2g}, {row.images_per_second:.0f} images/s"
    )


def reporter(total: int, done: int = 0, label: str = "", shown: bool = True) -> Lines | Bar:
    """Return a bar on a terminal, and plain lines otherwise.

    Args:
        total: Number of steps.
        done: Number of steps done before.
        label: Text in front of the progress.
        shown: Whether to print at all.

    Returns:
        The reporter, a context manager.
    """
    return Bar(total, done, label) if shown and sys.stdout.isatty() else Lines(label, shown, total, done)
