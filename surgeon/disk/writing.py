"""Write a file atomically, and turn a full disk or any other failure into one error that says so."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surgeon.disk.hidden import unfinished
from surgeon.errors import WritingError


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a place beside `path` to write to, and rename it to `path` at the end.

    Nothing of it is left after an error. Who may read new files may read it.

    Args:
        path: the file.

    Yields:
        The place to write to.

    Raises:
        WritingError: writing failed (the message gives the reason), or `path` is a device or pipe, which
            renaming would replace.
    """
    if path.exists() and not path.is_file():
        raise WritingError(f"{path} is not an ordinary file; choose another place")
    beside = unfinished(path)
    try:
        with telling(path):
            with shared(beside):
                yield beside
            # Renaming is atomic within a file system, which a name beside the path is sure to be on.
            os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """Let a file that is written inside be read by whoever the system lets read new files.

    safetensors writes a private temporary file and renames it, which would leave the weights to their owner alone.

    Args:
        path: the file; it is made empty first.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    yield
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Inside, turn failures to write into WritingError: those of the system, of safetensors and of pyarrow.

    Args:
        path: the file, for the message.

    Raises:
        WritingError: writing failed.
    """
    try:
        yield
    except _failures() as error:
        kept = "the one from before stays" if path.exists() else "nothing of it was kept"
        raise WritingError(f"{path} could not be written: {reason_of(error)}; {kept}") from error


def make_folder(path: Path) -> None:
    """Make a folder and its parents, where they do not exist.

    Args:
        path: the folder.

    Raises:
        WritingError: it cannot be made.
    """
    with telling(path):
        path.mkdir(parents=True, exist_ok=True)


def reason_of(error: BaseException) -> str:
    """The system's reason for an error, such as "No space left on device".

    Args:
        error: the error.

    Returns:
        The reason; the error's own text if it has no error number.
    """
    number = getattr(error, "errno", None)
    if number is None:
        match = re.search(r"os error (\d+)", str(error))  # safetensors states it only in its text
        number = int(match[1]) if match else None
    return os.strerror(number) if number else " ".join(str(error).split())[:200] or type(error).__name__


def _failures() -> tuple[type[Exception], ...]:
    safetensors = sys.modules.get("safetensors")
    return (OSError,) if safetensors is None else (OSError, safetensors.SafetensorError)


class _Patient(io.RawIOBase):
    """A file that keeps its first error and silently accepts everything afterwards."""

    def __init__(self, file: io.FileIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True: torch.export asks."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Do nothing: torch.export returns to the start when everything is written."""
        return offset

    def write(self, content: Any) -> int:
        """Write unless an error occurred before."""
        view = memoryview(content).cast("B")
        size = len(view)
        # A raw file may take a part of what it is given.
        while len(view) and self.error is None:
            try:
                view = view[self.file.write(view) :]
            except OSError as error:
                self.error = error
        return size


@contextlib.contextmanager
def patient(path: Path) -> Iterator[Any]:
    """Open a new file for a writer in C++, such as torch's, which on an error aborts or loses the reason.

    Args:
        path: the file.

    Yields:
        A file object that reports no error until the end.

    Raises:
        OSError: writing failed, raised at the end.
    """
    with path.open("wb", buffering=0) as file:
        to = _Patient(file)
        yield to
        if to.error is not None:
            raise to.error
