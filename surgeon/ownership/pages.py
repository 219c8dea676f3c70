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


def lacking(page: str, ours: str) -> str:
    """Return the first part of a text that a page with notes no longer has.

    Lines may stand between those of the text, where they do not change a table: its rows stand together, and a row more
    is another table.

    Args:
        page: the page, with what a person wrote into it.
        ours: the text that surgeon writes.

    Returns:
        A line of the text, or the first row of a table that is not as it is written; empty where all is there in order.

    Examples:
        >>> lacking("my note\\none\\n| a |\\n| 1 |\\n", "one\\n| a |\\n| 1 |\\n")
        ''
        >>> lacking("one\\n| a |\\n| 2 |\\n", "one\\n| a |\\n| 1 |\\n")
        '| 1 |'
    """
    left = iter(_parts(page))
    for part in _parts(ours):
        close: list[str] = []
        for there in left:
            if there == part:
                break
            if there[0] == part[0]:
                close = there
        else:
            return next((line for line in part if line not in close), part[0])
    return ""


def _parts(text: str) -> list[list[str]]:
    """Divide a text into its lines, where the rows of a table are one part, and empty lines none."""
    parts: list[list[str]] = []
    table = False
    for line in (line.rstrip() for line in text.splitlines()):
        row = line.startswith("|")
        if row and table:
            parts[-1].append(line)
        elif line:
            parts.append([line])
        table = row
    return parts
