"""Names of files and classes, as they are shown and written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from surgeon.disk.writing import reason_of
from surgeon.errors import DataError


def shown(name: object) -> str:
    """A name of any bytes in one line of text: what is no UTF-8, or moves a terminal, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(name))


def check_class(folder: Path) -> str:
    """The name of a class's folder. Raises DataError where it is no UTF-8: tables, pages and pictures could not be written."""
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{shown(folder)}: the name of a class must be UTF-8; rename the folder") from None
    return folder.name


@contextlib.contextmanager
def readable(source: object) -> Iterator[None]:
    """Raise DataError where the system does not let a source be read: no permission, links in a circle, a disk at fault."""
    try:
        yield
    except OSError as error:
        place = error.filename if error.filename is not None else source
        raise DataError(f"{shown(source)} cannot be read: {reason_of(error)} ({shown(place)})") from error
