"""Processes that kill themselves at a checkpoint, so that no clock and no load decides whether they do."""

from __future__ import annotations

import itertools
import os
import signal
import threading

from tests.started import Started, command_line


def at_checkpoint(number: int, delay: float | None = None) -> None:
    """SIGKILL to this process once the checkpoint of this number is written, or `delay` seconds after it is begun."""
    from surgeon.training import loop

    store, count = loop.store, itertools.count(1)

    def stored(*args):
        now = next(count) == number
        if now and delay is not None:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        store(*args)
        if now and delay is None:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.store = stored


def killed(*command: object) -> None:
    """Run surgeon's command line in a process that dies at its third checkpoint."""
    done = Started(_dying, *map(str, command))
    assert done.wait(600) == -signal.SIGKILL, done.said()[-2000:]


def _dying(*arguments: str) -> None:
    at_checkpoint(3)
    command_line(*arguments)
