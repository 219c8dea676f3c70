"""List a folder's images with their classes, without decoding them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from surgeon.data.images import SPLITS, is_part, split_of
from surgeon.data.linked import check_one_class
from surgeon.data.names import check_class, shown
from surgeon.data.walking import files_below
from surgeon.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
"""How the names of files end that are taken for images in a folder."""
UNREAD = (
    ".gif",
    ".apng",
    ".avif",
    ".heic",
    ".heif",
    ".jxl",
    ".jp2",
    ".jpe",
    ".jfif",
    ".tga",
    ".exr",
    ".dng",
    ".dcm",
    ".pbm",
    ".pnm",
    ".pfm",
    ".dib",
    ".psd",
    ".svg",
    ".j2k",
    ".j2c",
    ".jpf",
    ".jpx",
    ".pcx",
    ".sgi",
    ".dds",
    ".hdr",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
)
"""How the names of images end that are not read. Among images they are refused: passed over, they would be missed."""

_SHARDS = (".parquet", ".tar")
_ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".7z", ".rar")


def split_folders(path: Path, asked: str | None = None) -> dict[str, Path]:
    """Find the sub-folders that are splits: train/, val/ (or validation/, valid/), test/, in any case.

    Args:
        path: the folder.
        asked: the name of a further sub-folder that is read as a split.

    Returns:
        Split → sub-folder.

    Raises:
        DataError: two sub-folders are one split, or other folders of images lie beside the splits.
    """
    by_split: dict[str, list[Path]] = {split: [] for split in SPLITS}
    others = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        split = split_of(folder.name)
        if split is not None:
            by_split[split].append(folder)
        elif folder.name != asked:
            others.append(folder)
    for split, folders in by_split.items():
        if len(folders) > 1:
            raise DataError(
                f"{shown(path)} has {_listed(folders)}, which all mean the split {split!r}; keep one of them there"
            )
    there = {split: folders[0] for split, folders in by_split.items() if folders}
    images = (*SUFFIXES, *UNREAD)
    beside = [f for f in others if next(files_below(f, images), None) is not None] if there else []
    if beside:
        raise DataError(
            f"{shown(path)} has the splits {_listed(there.values())} beside other folders of "
            f"images, {_listed(beside)}: move "
            "these away, or into the split that they belong to; if all are classes, put all of them into a folder train"
        )
    return there


def _listed(folders: Iterable[Path]) -> str:
    names = [f"{shown(f.name)}/" for f in folders]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def class_names(folders: list[Path]) -> tuple[str, ...]:
    """The classes of folders: the names of their sub-folders, of all together, in alphabetical order.

    Args:
        folders: the folders.

    Raises:
        DataError: a name is not UTF-8, or all are those of parts, as fold0/ and fold1/, with folders in them.
    """
    there = [p for f in folders for p in sorted(f.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    names = {check_class(p) for p in there}
    if names and all(map(is_part, names)):
        inside = next((q for p in there for q in sorted(p.iterdir()) if q.is_dir()), None)
        if inside is not None:
            raise DataError(
                f"{shown(there[0].parent)} has {_listed(there)}, which would be taken for classes, and not the folders "
                f"in them, such as {shown(inside.name)}/: name them after their splits, train, val or test, or name "
                "one of them as the source"
            )
    return tuple(sorted(names))


def folder_entries(path: Path, split: str) -> Iterator[tuple[Path, int]]:
    """List the images of one split of a folder.

    Args:
        path: the folder.
        split: the split.

    Yields:
        (file, class); class −1 for an image that lies in no sub-folder.

    Raises:
        DataError: the folder lacks the split, holds an image of a kind that is not read, a parquet file or tar
            among its images, an archive in the place of a class, or one file in two classes; or as for
            `split_folders` and `files_below`.
    """
    there = split_folders(path, split)
    siblings, source = [path], path
    if split in there or (path / split).is_dir():
        own = there.get(split, path / split)
        siblings = list({*there.values(), own})
        path = own
    elif there or split not in SPLITS:
        contents = f"the splits {', '.join(there)}" if there else "no splits"
        raise DataError(f"{path} has {contents}, not {split!r}")
    place = {name: number for number, name in enumerate(class_names(siblings))}
    _check_archives(path, split in there)
    entries: list[tuple[Path, int]] = []
    for file in files_below(path, (*SUFFIXES, *UNREAD, *_SHARDS)):
        if file.suffix.lower() in _SHARDS:
            if file.parent == source:
                continue  # whether it is read is decided before image files are
            raise DataError(
                f"{shown(file)} lies among image files, which are read, and would be passed over: keep one form there"
            )
        if file.suffix.lower() in UNREAD:
            kinds = ", ".join(SUFFIXES[:6])
            raise DataError(
                f"{shown(file)} is an image that is not read; convert it (read are {kinds}, …) or move it away"
            )
        parts = file.relative_to(path).parts
        entries.append((file, place[parts[0]] if len(parts) > 1 else -1))
    check_one_class(entries)
    yield from entries


def _check_archives(folder: Path, is_split: bool) -> None:
    """Raise DataError for an archive beside a split's classes, if no class was unpacked from it."""
    if not is_split:
        return
    classes = {p.name for p in folder.iterdir() if p.is_dir()}
    for file in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        ends = next((e for e in _ARCHIVES if file.name.lower().endswith(e)), "")
        if ends and file.name[: -len(ends)] not in classes:
            raise DataError(
                f"{shown(file)} lies beside the classes and would be passed over: unpack it, or move it away"
            )
