"""TensorBoard's scalars, written as they come: tensorboard's own writer has a thread, which prints its errors as tracebacks."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgeon.disk.writing import make_folder, telling


class Board:
    """A new file of events in `folder`; what other files there hold from `step` on is void. Needs tensorboard.

    Raises WritingError, here and later, where the file cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.folder = folder
        make_folder(folder)
        with telling(folder):
            name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
            self.file = (folder / name).open("ab")
            self.records = RecordWriter(self.file)
            self._write(file_version="brain.Event:2")
            self._write(step=step, session_log=SessionLog(status=SessionLog.START))
            self.file.flush()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """The scalars of a step."""
        from torch.utils.tensorboard.summary import scalar

        with telling(self.folder):
            for name, value in values.items():
                self._write(step=step, summary=scalar(name, value))
            self.file.flush()

    def close(self) -> None:
        """No more will come. What could not be written was told before."""
        with contextlib.suppress(OSError):
            self.file.close()

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.records.write(Event(wall_time=time.time(), **content).SerializeToString())
