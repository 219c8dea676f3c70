"""SIGINT (Ctrl-C) and SIGTERM (which batch systems send): what is under way ends, and says what is kept.

Python raises an error for the one and dies of the other. Within `handled` both raise `Stopped`: at once, or, within
`deferred`, when the caller asks: a training ends its step and writes its checkpoint first.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal asked for an end. `kept`: the folder in which finished work stays; `at`: how far that is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.kept, self.at = number, "", ""

    @property
    def exit_code(self) -> int:
        """What a shell knows a process by that a signal ended."""
        return 128 + self.number

    def __str__(self) -> str:
        name = f"stopped by {signal.Signals(self.number).name}"
        if not self.kept:
            return f"{name}: nothing was written"
        at = f", {self.at}" if self.at else ""
        return f"{name}: {self.kept} keeps what was finished{at}; the same command goes on"


_SAME = 3.0
"""Seconds within which further signals are the same wish: a terminal and a launcher both send theirs."""


class _State:
    depth = 0
    asked: int | None = None
    since = 0.0


_state = _State()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Both signals raise `Stopped` in here, unless they are ignored in this process, or this is not its main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    taken = [n for n, old in before.items() if old is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, _receive)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
        _state.asked = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A first signal waits in here until `check` is called, or the end; one that comes seconds later does not wait."""
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
    if not _state.depth:
        check()


def asked() -> int | None:
    """The number of a signal that is waiting."""
    return _state.asked


def check() -> None:
    """Raise `Stopped` if a signal is waiting."""
    if _state.asked is not None:
        number, _state.asked = _state.asked, None
        raise Stopped(number)


def _receive(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _state.depth and _state.asked is None:
        _state.asked, _state.since = number, now
    elif not _state.depth or now - _state.since > _SAME:
        _state.asked = None
        raise Stopped(number)
