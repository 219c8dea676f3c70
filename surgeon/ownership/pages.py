"""Pages that are written anew as work goes on: what a person wrote into one is kept."""

from __future__ import annotations

import sys
from pathlib import Path

from surgeon.disk.files import write_text
from surgeon.disk.hashes import own_hash
from surgeon.disk.hidden import MANIFEST
from surgeon.ownership.manifest import read_manifest


def write_page(folder: Path, name: str, text: str, *, before: str) -> bool:
    """Write a page of text, and record its hash, unless somebody changed the one that is there.

    Standard error tells of one that is kept.

    Args:
        folder: the folder, which has a manifest.
        name: the page's name.
        text: the text.
        before: the text that the last call would have written, by which a page without a hash is known.

    Returns:
        Whether it was written.

    Raises:
        WritingError: it cannot be written.
    """
    path, known = folder / name, read_manifest(folder)
    if path.is_file() and not (known is not None and known.texts.get(name) == own_hash(path)):
        there = path.read_text(encoding="utf-8", errors="replace")
        if there not in (text, before):
            keep(path)
            return False
    write_text(path, text)
    if known is not None:
        recorded = known.model_copy(update={"texts": {**known.texts, name: own_hash(path)}})
        write_text(folder / MANIFEST, recorded.model_dump_json(indent=2) + "\n")
    return True


def keep(path: Path) -> None:
    """Tell that a page is not written anew.

    Args:
        path: the page.
    """
    print(
        f"{path} was changed since surgeon wrote it, and is kept as it is: move it away, and the same command writes "
        "it anew",
        file=sys.stderr,
        flush=True,
    )
