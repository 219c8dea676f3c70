"""What surgeon's hidden files are called: locks, what is not finished, what is being replaced, manifests.

All lie beside the path that they belong to and carry its name, so that the path's next owner finds what a kill left.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

MANIFEST = ".surgeon.json"
_NEW, _OLD = "new", "old"
_TEMPORARY = re.compile(r"\.surgeon-(new|old)-\d+\.[0-9a-f]{8}-(.+)", re.DOTALL)


def lock_beside(path: Path) -> Path:
    """The lock of a path, beside it."""
    return path.with_name(f".surgeon-lock-{path.name}")


def lock_inside(folder: Path) -> Path:
    """The lock of a folder in whose parent nothing can be written."""
    return folder / ".surgeon-lock"


def unfinished(path: Path) -> Path:
    """A new name beside `path` for what is to be renamed to it; it has the number of this process, and the path's ending."""
    return _temporary(path, _NEW)


def replaced(path: Path) -> Path:
    """A new name beside `path` for what is there while something else takes its place."""
    return _temporary(path, _OLD)


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f".surgeon-{kind}-{os.getpid()}.{secrets.token_hex(4)}-{path.name}")


def is_own(name: str) -> bool:
    """Whether a file of this name is one of surgeon's hidden ones."""
    return name == MANIFEST or name.startswith(".surgeon-")


def is_temporary(name: str) -> bool:
    """Whether this is the name of something that was not finished or was being replaced."""
    return _TEMPORARY.fullmatch(name) is not None


def left_beside(path: Path) -> tuple[list[Path], list[Path]]:
    """(unfinished, replaced): what was left beside `path` of writing it."""
    found: dict[str, list[Path]] = {_NEW: [], _OLD: []}
    for other in path.parent.glob(".surgeon-*"):
        match = _TEMPORARY.fullmatch(other.name)
        if match and match[2] == path.name:
            found[match[1]].append(other)
    return found[_NEW], sorted(found[_OLD])
