"""Names of files and classes, as they are shown and written."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
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


def alike(name: str, others: Sequence[str]) -> str:
    """The name that differs from another one in case, encoding, spaces, hyphens and underscores alone; '' without one.

    Between digits, a space, hyphen or underscore is a difference: 1-2 is not 12.

    Args:
        name: the name.
        others: the names to look among.

    Examples:
        >>> from surgeon.data.names import alike
        >>> alike("Fire_Truck", ["car", "fire truck"])
        'fire truck'
    """
    return next((o for o in others if o != name and _plain(o) == _plain(name)), "")


def pairs_alike(names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of names that differ as `alike` says; each name with the first one that it is like.

    Args:
        names: the names.

    Examples:
        >>> from surgeon.data.names import pairs_alike
        >>> pairs_alike(["Cat", "dog", "cat"])
        [('Cat', 'cat')]
    """
    first: dict[str, str] = {}
    return [(other, n) for n in names if (other := first.setdefault(_plain(n), n)) != n]


def _plain(name: str) -> str:
    return re.sub(r"(?<!\d)[\s_-]|[\s_-](?!\d)", "", unicodedata.normalize("NFKC", name)).casefold()


@contextlib.contextmanager
def readable(source: object) -> Iterator[None]:
    """Inside, turn errors of the system on reading into DataError.

    Args:
        source: what is read, for the message.

    Raises:
        DataError: permission denied, links in a circle, a disk error; or the source is an empty text, which would be
            the present folder.
    """
    if source == "":
        raise DataError("an empty text names no images; name a folder, a file or a data set")
    try:
        yield
    except OSError as error:
        place = error.filename if error.filename is not None else source
        raise DataError(f"{shown(source)} cannot be read: {reason_of(error)} ({shown(place)})") from error
