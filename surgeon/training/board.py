"""TensorBoard scalars, written immediately.

tensorboard's own writer uses a thread, which prints its errors as tracebacks instead of raising them.
"""

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
    """A new file of TensorBoard events in a folder. Needs tensorboard.

    Args:
        folder: The folder.
        step: TensorBoard ignores what older files in the folder hold from this step on.

    Raises:
        WritingError: Here and in `add`: the file cannot be written.
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
        """Write the scalars of a step.

        Args:
            step: Index of the step.
            values: Scalars by name.
        """
        from torch.utils.tensorboard.summary import scalar

        with telling(self.folder):
            for name, value in values.items():
                self._write(step=step, summary=scalar(name, value))
            self.file.flush()

    def close(self) -> None:
        """Close the file. Errors of writing have been raised before."""
        with contextlib.suppress(OSError):
            self.file.close()

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.records.write(Event(wall_time=time.time(), **content).SerializeToString())
