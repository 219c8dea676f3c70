"""surgeon in a process of its own that need not import anything: a server, which is started once and has imported all
that a training needs, forks itself for each. Signals, exit codes and owners are those of any process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["surgeon.cli", "surgeon.pipeline", "surgeon.evaluation", "timm", "accelerate"])


class Started:
    """A function of a module, called with `arguments` in a process; as much of `subprocess.Popen` as tests use."""

    def __init__(self, function: Callable[..., object], *arguments: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        given = (function, arguments, self.folder.name, torch.get_num_threads())
        self.process = SERVER.Process(target=_inside, args=given)
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the signal that ended it with a minus; None while it runs."""
        return self.process.exitcode

    poll = returncode.fget

    def wait(self, timeout: float | None = None) -> int:
        """The exit code at its end. Raises subprocess.TimeoutExpired."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("surgeon", timeout or 0)
        return self.process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to both streams until its end."""
        self.wait(timeout)
        return self.said("out"), self.said("err")

    def said(self, stream: str = "err") -> str:
        """What it wrote so far."""
        return Path(self.folder.name, stream).read_text()

    def send_signal(self, number: int) -> None:
        """As `kill` does."""
        os.kill(self.pid, number)


def command_line(*arguments: str) -> None:
    """`surgeon` with these arguments."""
    from surgeon.cli import main

    main([*arguments])


def _inside(function: Callable[..., object], arguments: tuple[str, ...], folder: str, threads: int) -> None:
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a script
    os.environ["ACCELERATE_USE_CPU"] = "true"
    sys.argv = ["surgeon", *arguments]
    torch.set_num_threads(threads)
    function(*arguments)
