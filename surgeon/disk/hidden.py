"""Names of surgeon's hidden files: locks, unfinished files, files being replaced, and manifests.

All lie beside the path that they belong to and contain its name, so that the next process that writes there
finds what a killed one left.
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
    """The lock of a path, beside it.

    Args:
        path: the path.
    """
    return path.with_name(f".surgeon-lock-{path.name}")


def lock_inside(folder: Path) -> Path:
    """The lock of a folder whose parent is not writable.

    Args:
        folder: the folder.
    """
    return folder / ".surgeon-lock"


def unfinished(path: Path) -> Path:
    """A new name beside `path` for what will be renamed to it.

    It has this process's number, and the path's suffix.

    Args:
        path: the path.
    """
    return _temporary(path, _NEW)


def replaced(path: Path) -> Path:
    """A new name beside `path` for its present content while something else takes its place.

    Args:
        path: the path.
    """
    return _temporary(path, _OLD)


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f".surgeon-{kind}-{os.getpid()}.{secrets.token_hex(4)}-{path.name}")


def is_own(name: str) -> bool:
    """Whether a name is that of one of surgeon's hidden files.

    Args:
        name: the file's name.
    """
    return name == MANIFEST or name.startswith(".surgeon-")


def is_temporary(name: str) -> bool:
    """Whether a name is that of something unfinished or being replaced.

    Args:
        name: the file's name.
    """
    return _TEMPORARY.fullmatch(name) is not None


def left_beside(path: Path) -> tuple[list[Path], list[Path]]:
    """What was left beside `path` by interrupted writing.

    Args:
        path: the path.

    Returns:
        (unfinished, replaced).
    """
    by_kind: dict[str, list[Path]] = {_NEW: [], _OLD: []}
    for other in path.parent.glob(".surgeon-*"):
        match = _TEMPORARY.fullmatch(other.name)
        if match and match[2] == path.name:
            by_kind[match[1]].append(other)
    return by_kind[_NEW], sorted(by_kind[_OLD])
