"""Whether a tar is whole: its readers take what lies before a break for all of it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

from surgeon.data.names import shown
from surgeon.errors import DataError

DAMAGES = (OSError, EOFError, tarfile.TarError)
"""What reading a damaged tar raises."""


def check_whole(path: Path) -> None:
    """Check that a tar ends with the mark of its end.

    Args:
        path: the tar.

    Raises:
        DataError: it breaks off, or has a damaged part.
    """
    try:
        with tarfile.open(path) as tar:
            number = sum(1 for _ in tar)
            file: Any = tar.fileobj
            file.seek(tar.offset)
            end = file.read(tarfile.BLOCKSIZE)
    except DAMAGES as error:
        raise unreadable(path, error) from error
    if end != bytes(tarfile.BLOCKSIZE):
        raise DataError(
            f"{shown(path)} is damaged or broke off when it was copied: after {number:,} files comes neither "
            "another nor the mark of its end; copy it again"
        )


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a tar that cannot be read.

    Args:
        path: the tar.
        error: what reading it raised.
    """
    reason = shown(str(error).partition("\n")[0])[:200] or type(error).__name__
    return DataError(f"{shown(path)} holds no tar of images that can be read: {reason}")
