"""Names of files and classes, as they are shown and written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from surgeon.disk.writing import reason_of
from surgeon.errors import DataError


def shown(name: object) -> str:
    """Escape a name for one line of text: bytes that are not UTF-8, and characters that control a terminal.

    Args:
        name: the name.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(name))


def check_class(folder: Path) -> str:
    """The name of a class's folder.

    Args:
        folder: the folder.

    Raises:
        DataError: it is not UTF-8, so that tables, pages and pictures could not be written.
    """
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{shown(folder)}: the name of a class must be UTF-8; rename the folder") from None
    return folder.name


@contextlib.contextmanager
def readable(source: object) -> Iterator[None]:
    """Inside, turn errors of the system on reading into DataError.

    Args:
        source: what is read, for the message.

    Raises:
        DataError: permission denied, links in a circle, a disk error.
    """
    try:
        yield
    except OSError as error:
        place = error.filename if error.filename is not None else source
        raise DataError(f"{shown(source)} cannot be read: {reason_of(error)} ({shown(place)})") from error
