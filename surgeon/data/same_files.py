"""Files of images that two sets share, byte by byte, where the images are too many to be held in memory."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import xxhash

from surgeon.data.lazy_images import Item, Records
from surgeon.disk.hashes import own_hash

COMPARED = 256
"""Files that are looked for, spread evenly over their set. All files of the other set are asked for their sizes,
and those of an equal size are read: some thousands of a million."""


class Shared(NamedTuple):
    """How many files of one set are among those of another.

    Attributes:
        found: how many of those that were looked for.
        compared: how many were looked for.
    """

    found: int
    compared: int


def shared_files(known: Records, tested: Records, most: int = COMPARED) -> Shared:
    """Count the files of one set that are, byte by byte, among those of another.

    A file that cannot be read is left out: reading its image tells of it. Images of tars and of libraries' data
    sets have no file of their own and are not compared.

    Args:
        known: the set in which they are looked for.
        tested: the set whose files are looked for.
        most: how many of them, spread evenly.
    """
    own = [item for item, _ in tested.entries if _size(item) is not None]
    count = min(most, len(own))
    chosen = [own[k * len(own) // count] for k in range(count)]
    wanted: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for item in chosen:
        if (size := _size(item)) is not None and (content := _hash(item)) is not None:
            wanted[size][content] += 1
    shared = 0
    for item, _ in known.entries:
        size = _size(item)
        if size is not None and wanted.get(size) and (content := _hash(item)) is not None:
            shared += wanted[size].pop(content, 0)
    return Shared(shared, count)


def _size(item: Item) -> int | None:
    """The bytes of an item's file; None for one without a file, or that cannot be read."""
    if isinstance(item, tuple) and isinstance(item[1], bytes):
        return len(item[1])
    try:
        return item.stat().st_size if isinstance(item, Path) else None
    except OSError:
        return None


def _hash(item: Item) -> str | None:
    if isinstance(item, tuple):
        return xxhash.xxh3_128(item[1]).hexdigest()
    if not isinstance(item, Path):
        return None
    try:
        return own_hash(item).rpartition(":")[2]
    except OSError:
        return None
