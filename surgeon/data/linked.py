"""One file under the names of two classes, by a link: which of its labels is right cannot be known."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from surgeon.data.names import shown
from surgeon.errors import DataError


def check_one_class(entries: Sequence[tuple[Path, int]]) -> None:
    """Check that no file is, by a link, in two classes. Copies are not looked for.

    Args:
        entries: (file, class) of one split. Links that lead nowhere are ignored: reading them tells.

    Raises:
        DataError: one is; the message names it by both of its names.
    """
    if not any(map(_linked, (file for file, _ in entries))):
        return
    known: dict[tuple[int, int], tuple[Path, int]] = {}
    for file, label in entries:
        try:
            status = file.stat()
        except OSError:
            continue
        first, other = known.setdefault((status.st_dev, status.st_ino), (file, label))
        if other != label:
            raise DataError(
                f"{shown(file)} and {shown(first)} are one file in two classes, by a link: remove it from the class "
                "that is wrong"
            )


def _linked(file: Path) -> bool:
    """Whether a file is a symbolic link, or has a hard link elsewhere."""
    try:
        status = os.lstat(file)
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1
