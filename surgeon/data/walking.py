"""The files below a folder. Links are followed, and each real folder is visited once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from surgeon.data.names import shown
from surgeon.errors import DataError


def files_below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """List files with certain suffixes, in the order of their paths.

    Hidden files, pipes and devices are ignored. A link stands for its target, wherever that is. A link
    without a target is listed too, so that reading it raises an error that names it.

    Args:
        folder: the folder.
        suffixes: suffixes in lower case, with the dot.

    Raises:
        DataError: a folder is reached twice, such as by a link to one above it, or a link leads nowhere that
            may have led to a folder.
        OSError: a folder cannot be read.
    """
    yield from _below(folder, suffixes, {})


def _below(folder: Path, suffixes: Collection[str], known: dict[tuple[int, int], Path]) -> Iterator[Path]:
    stat = folder.stat()
    before = known.setdefault((stat.st_dev, stat.st_ino), folder)
    if before != folder:
        raise DataError(
            f"{shown(folder)} is the same folder as {shown(before)}: a link leads back, or "
            "two lead to one place; remove it"
        )
    with os.scandir(folder) as listed:
        entries = sorted(listed, key=lambda e: e.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _below(folder / entry.name, suffixes, known)
        elif Path(entry.name).suffix.lower() in suffixes and (entry.is_file() or _leads_nowhere(entry)):
            yield folder / entry.name
        elif _leads_nowhere(entry) and not Path(os.readlink(entry.path)).suffix:
            raise DataError(
                f"{shown(folder / entry.name)} is a link to {shown(os.readlink(entry.path))}, where nothing is: a "
                "folder of images that is not there would be passed over; mend the link or remove it"
            )


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)
