"""Folders of data that come with surgeon: inside an installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def shipped_folder(name: str, package: Path = PACKAGE) -> Path | None:
    """Find a folder of shipped files.

    Args:
        name: The folder's name, such as `recipes`.
        package: The folder of the package.

    Returns:
        The folder; None if neither the package nor a checkout has it.
    """
    inside, beside = package / name, package.parent / name
    if inside.is_dir():
        return inside
    return beside if (package.parent / "pyproject.toml").is_file() and beside.is_dir() else None
