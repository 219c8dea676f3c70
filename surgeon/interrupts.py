"""Handle SIGINT (Ctrl-C) and SIGTERM (sent by batch systems): end the work and report what is kept.

By default Python raises an error for the first and dies of the second. Inside `handled`, both raise
`Stopped`: at once, or, inside `deferred`, at the next `check`. A training thus finishes its step and writes
its checkpoint first.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end.

    Attributes:
        number: the signal's number.
        kept: the folder that keeps finished work; empty if no folder does.
        at: how far the work is.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.kept, self.at = number, "", ""

    @property
    def exit_code(self) -> int:
        """The exit code by which a shell recognises a process that a signal ended."""
        return 128 + self.number

    def __str__(self) -> str:
        name = f"stopped by {signal.Signals(self.number).name}"
        if not self.kept:
            return f"{name}: nothing was written"
        at = f", {self.at}" if self.at else ""
        return f"{name}: {self.kept} keeps what was finished{at}; the same command goes on"


_SAME = 3.0
"""Signals within so many seconds count as one: a terminal and a launcher each send theirs."""


class _State:
    depth = 0
    asked: int | None = None
    since = 0.0


_state = _State()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Inside, both signals raise `Stopped`, in the main thread and unless this process ignores them."""
    # Python lets the main thread alone set handlers.
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
    """Inside, a first signal waits for `check` or for the end of the block.

    A second one that comes some seconds later takes effect at once.
    """
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
    # Not in `finally`: `Stopped` must not take the place of an error that is on its way.
    if not _state.depth:
        check()


def asked() -> int | None:
    """The number of a waiting signal; None if no signal waits."""
    return _state.asked


def check() -> None:
    """Raise `Stopped` if a signal is waiting.

    Raises:
        Stopped: a signal is waiting.
    """
    if _state.asked is not None:
        number, _state.asked = _state.asked, None
        raise Stopped(number)


def _receive(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _state.depth and _state.asked is None:
        _state.asked, _state.since = number, now
    # Nothing to wait for, or the user insists: end at once.
    elif not _state.depth or now - _state.since > _SAME:
        _state.asked = None
        raise Stopped(number)
