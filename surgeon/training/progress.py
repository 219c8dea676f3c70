"""Progress of long work: a bar with rate and time left on a terminal, plain lines otherwise."""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import Any


class Lines:
    """One plain line an epoch, or none."""

    def __init__(self, label: str, shown: bool = True) -> None:
        self.label, self.shown = label, shown

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def advance(self) -> None:
        """A step is done."""

    def epoch(self, row: Any) -> None:
        """An epoch is done; `row` has its figures."""
        if self.shown:
            print(_line(self.label, row), flush=True)


class Bar:
    """A rich progress bar over all steps."""

    def __init__(self, total: int, done: int, label: str) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TaskProgressColumn(show_speed=True), TimeRemainingColumn(), TextColumn("{task.fields[last]}"),
        )  # fmt: skip
        self.task = self.progress.add_task(label or "training", total=total, completed=done, last="")

    def __enter__(self) -> Bar:
        self.progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.__exit__(kind, error, trace)

    def advance(self) -> None:
        """A step is done."""
        self.progress.advance(self.task)

    def epoch(self, row: Any) -> None:
        """An epoch is done; `row` has its figures."""
        self.progress.update(self.task, last=_line("", row))


def _line(label: str, row: Any) -> str:
    head = f"{label}: " if label else ""
    checked = "" if math.isnan(row.val_accuracy) else f"validation accuracy {row.val_accuracy:.3f}, "
    return (
        f"{head}epoch {row.epoch}: loss {row.loss:.4f}, {checked}"
        f"lr {row.lr:.2g}, {row.images_per_second:.0f} images/s"
    )


def reporter(total: int, done: int = 0, label: str = "", shown: bool = True) -> Lines | Bar:
    """What fits where the output goes."""
    return Bar(total, done, label) if shown and sys.stdout.isatty() else Lines(label, shown)
