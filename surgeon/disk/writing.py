"""A file appears whole or not at all; a full disk, or whatever else stops the writing, is one error that says so."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surgeon.disk.hidden import unfinished
from surgeon.errors import WritingError


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which is renamed to `path` at the end; on an error nothing of it is left.

    Raises WritingError, naming `path` and the reason, where the writing fails, and for a device or a pipe, which a renamed
    file would replace.
    """
    if path.exists() and not path.is_file():
        raise WritingError(f"{path} is no ordinary file; choose another place")
    beside = unfinished(path)
    try:
        with telling(path):
            yield beside
            os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Raise WritingError where what is done within fails to write `path`: what the system, safetensors or pyarrow raise."""
    try:
        yield
    except _failures() as error:
        kept = "the one from before stays" if path.exists() else "nothing was kept"
        raise WritingError(f"{path} could not be written: {reason_of(error)}; {kept}") from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there yet. Raises WritingError."""
    with telling(path):
        path.mkdir(parents=True, exist_ok=True)


def reason_of(error: BaseException) -> str:
    """What the system says, such as "No space left on device"; without a number of the system's, the error's own text."""
    number = getattr(error, "errno", None)
    if number is None:
        found = re.search(r"os error (\d+)", str(error))  # safetensors has it in its text alone
        number = int(found[1]) if found else None
    return os.strerror(number) if number else " ".join(str(error).split())[:200] or type(error).__name__


def _failures() -> tuple[type[Exception], ...]:
    safetensors = sys.modules.get("safetensors")
    return (OSError,) if safetensors is None else (OSError, safetensors.SafetensorError)


class _Patient(io.RawIOBase):
    """A file that keeps its first error for later and takes what comes after it in silence."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Nothing: torch.export goes back to the start when all is written."""
        return offset

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        size = len(view)
        while len(view) and self.error is None:
            try:
                view = view[self.file.write(view) :]
            except OSError as error:
                self.error = error
        return size


@contextlib.contextmanager
def patient(path: Path) -> Iterator[Any]:
    """A new file for writers in C++, such as torch's: one that hears of an error ends the process, or loses the reason.

    Raises OSError, at the end, where the writing failed.
    """
    with path.open("wb", buffering=0) as file:
        to = _Patient(file)
        yield to
        if to.error is not None:
            raise to.error
