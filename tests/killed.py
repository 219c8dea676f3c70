"""Processes that kill themselves at a checkpoint, so that no clock and no load of the machine decides whether they do.

`python -m tests.killed train …` is `surgeon train …` until its third checkpoint lies on the disk.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[1]


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


def killed(*command: object, environment: dict[str, str]) -> None:
    """Run surgeon's command line in a process that dies at its third checkpoint."""
    arguments = [sys.executable, "-m", "tests.killed", *map(str, command)]
    done = subprocess.run(arguments, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


if __name__ == "__main__":
    from surgeon.cli import main

    at_checkpoint(3)
    main(sys.argv[1:])
