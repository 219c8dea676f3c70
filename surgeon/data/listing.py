"""List a folder's images with their classes, without decoding them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from surgeon.data.images import SPLITS, SYNONYMS
from surgeon.data.names import check_class
from surgeon.data.walking import files_below
from surgeon.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
"""How the names of files end that are taken for images in a folder."""


def split_folders(path: Path) -> dict[str, Path]:
    """Find the sub-folders that are splits: train/, val/ (or validation/, valid/), test/.

    Args:
        path: the folder.

    Returns:
        Split → sub-folder.
    """
    found = {s: next((path / n for n in names if (path / n).is_dir()), None) for s, names in SYNONYMS.items()}
    return {s: p for s, p in found.items() if p is not None}


def class_names(folders: list[Path]) -> tuple[str, ...]:
    """The classes of folders: the names of their sub-folders, of all together, in alphabetical order.

    Args:
        folders: the folders.

    Raises:
        DataError: a name is not UTF-8.
    """
    return tuple(
        sorted(
            {
                check_class(p)
                for f in folders
                for p in f.iterdir()
                if p.is_dir() and not p.name.startswith(".")
            }
        )
    )


def folder_entries(path: Path, split: str) -> Iterator[tuple[Path, int]]:
    """List the images of one split of a folder.

    Args:
        path: the folder.
        split: the split.

    Yields:
        (file, class); class −1 for an image that lies in no sub-folder.

    Raises:
        DataError: the folder lacks the split, or as for `files_below`.
    """
    there = split_folders(path)
    siblings = [path]
    if split in there or (path / split).is_dir():
        own = there.get(split, path / split)
        siblings = list({*there.values(), own})
        path = own
    elif len(there) > 1 or split not in SPLITS:
        found = f"the splits {', '.join(there)}" if there else "no splits"
        raise DataError(f"{path} has {found}, not {split!r}")
    place = {name: number for number, name in enumerate(class_names(siblings))}
    for file in files_below(path, SUFFIXES):
        parts = file.relative_to(path).parts
        yield file, place[parts[0]] if len(parts) > 1 else -1
