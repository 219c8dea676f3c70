"""What lies in a tar: everything that its reader would pass over, or read as something else, is refused."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from surgeon.data.images import split_of
from surgeon.data.listing import SUFFIXES, UNREAD
from surgeon.data.names import shown
from surgeon.errors import DataError

READ = (".png", ".jpg", ".jpeg")
"""How the names of images in a tar end, in any case: timm's reader passes over all others."""
_LABELS = ".cls"
"""How the files of labels end that web data sets have beside their images."""


def check_members(path: Path) -> None:
    """Check that all images of a tar are read, and as what their folders say.

    Args:
        path: the tar.

    Raises:
        DataError: an image is of a kind that is not read in a tar, is a hard link, has a name that another one
            has, or a label in a file beside it; images lie in folders of several splits; or a tar lies in a tar
            of a tar.
        OSError, EOFError, tarfile.TarError: the tar is damaged.
    """
    with tarfile.open(path) as tar:
        _check(path, list(_files(path, tar)))


def _files(path: Path, tar: tarfile.TarFile, above: str = "") -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The files and hard links of a tar with their places, and those of the tars in it."""
    for member in tar:
        place = f"{above}{member.name}"
        inner = member.isfile() and member.name.lower().endswith(".tar")
        if inner and above:
            raise DataError(f"{shown(path)} has {shown(place)}, a tar in a tar of a tar, which is not read")
        if inner:
            with tarfile.open(fileobj=tar.extractfile(member)) as within:
                yield from _files(path, within, f"{place}/")
        elif member.isfile() or member.islnk():
            yield place, member


def _check(path: Path, files: list[tuple[str, tarfile.TarInfo]]) -> None:
    places: dict[str, str] = {}
    labelled = {PurePosixPath(p).stem for p, _ in files if p.lower().endswith(_LABELS)}
    splits: dict[str, str] = {}
    for place, member in files:
        name = PurePosixPath(place)
        suffix = name.suffix.lower()
        if suffix not in (*SUFFIXES, *UNREAD) or name.name.startswith("."):
            continue
        if suffix not in READ:
            _refuse(path, place, f"in a tar {', '.join(READ)} are read alone: convert it, or unpack the tar")
        if member.islnk():
            _refuse(
                path, place, "it is a hard link, which would be passed over: write the tar with its content"
            )
        if name.stem in labelled:
            _refuse(
                path,
                place,
                f"its label lies beside it ({_LABELS}), as in a web data set, and here folders are classes: give "
                "the folder of the tars as --root of a data set wds/NAME",
            )
        same = "/".join(p for p in name.parts if p not in (".", "/"))
        if same in places:
            _refuse(path, place, f"{shown(places[same])} is the same file: keep the later one alone")
        places[same] = place
        for folder in name.parts[:-2]:
            if (split := split_of(folder)) is not None:
                splits.setdefault(split, place)
    if len(splits) > 1:
        which = " and ".join(shown(p) for p in splits.values())
        raise DataError(
            f"{shown(path)} has images of the splits {', '.join(splits)}, such as {which}, which would be read as "
            "one: unpack it, or write a tar for each split"
        )


def _refuse(path: Path, place: str, why: str) -> None:
    raise DataError(f"{shown(path)} has the image {shown(place)}: {why}")
