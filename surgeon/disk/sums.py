"""Files of torch.save: whether their bytes are those that were written.

They are zip archives with a sum (CRC-32) of each record, which torch writes and does not look at when it reads.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from torch.serialization import get_crc32_options, set_crc32_options


def altered(path: Path) -> str:
    """Return the first record of a file that has other bytes than were written.

    Args:
        path: The file.

    Returns:
        Its name in the file; empty where all have their sums, and for a file that is no archive and has none.

    Examples:
        >>> import pathlib, tempfile, torch
        >>> with tempfile.TemporaryDirectory() as place:
        ...     torch.save({"weight": torch.ones(2)}, path := pathlib.Path(place, "w.pt"))
        ...     altered(path)
        ''
    """
    if not zipfile.is_zipfile(path):
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() or ""
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        return " ".join(str(error).split()) or "its directory"  # what lists the records is at fault itself


@contextlib.contextmanager
def with_sums() -> Iterator[None]:
    """Let torch.save write the sums, whatever a caller has set, while the block runs."""
    before = get_crc32_options()
    set_crc32_options(True)
    try:
        yield
    finally:
        set_crc32_options(before)
