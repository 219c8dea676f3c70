"""How records name what lies in the folder of the same study or reproduction: by its place, so that it may be moved."""

from __future__ import annotations

import os
from pathlib import Path

from surgeon.ownership.manifest import read_manifest

_WHOLES = ("study", "reproduction")
"""Kinds of folders with parts that are made from one another."""


def noted(path: str | Path | None, folder: str | Path) -> str | None:
    """How a record in a folder names a path.

    Args:
        path: the path, absolute or relative to the working directory; None stays None.
        folder: the folder of the record.

    Returns:
        The way from the folder to the path, such as `../../base/trained`, where both lie in one study or
        reproduction; else the absolute path.
    """
    if path is None:
        return None
    target, here = Path(path).resolve(), Path(folder).resolve()
    whole = _whole(here)
    if whole is None or not target.is_relative_to(whole):
        return str(target)
    return Path(os.path.relpath(target, here)).as_posix()


def opened(text: str, folder: str | Path) -> str:
    """The absolute path that a record in a folder names.

    Args:
        text: the path, as `noted` gave it.
        folder: the folder of the record.
    """
    return os.path.normpath(Path(folder).resolve() / text)


def _whole(folder: Path) -> Path | None:
    """The outermost study or reproduction that a folder lies in."""
    around = [p for p in folder.parents if (known := read_manifest(p)) is not None and known.what in _WHOLES]
    return around[-1] if around else None
