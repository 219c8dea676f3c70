"""Open a published shifted set by its path: what lies there decides which it is. Nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from surgeon.data.names import readable, shown
from surgeon.data.shifted import cifar_c, cue_conflict, imagenet_c, imagenet_folders
from surgeon.data.shifted.classes import CUES
from surgeon.data.shifted.files import folders
from surgeon.data.shifted.sets import ShiftSet
from surgeon.errors import DataError
from surgeon.results.shifted import CORRUPTIONS, EXTRA

LAYOUTS = "; ".join(m.LAYOUT for m in (cifar_c, imagenet_c, imagenet_folders, cue_conflict))
_WORDNET = re.compile(r"n\d{8}")


def open_shift(path: str | Path) -> ShiftSet:
    """Open CIFAR-10-C, CIFAR-100-C, ImageNet-C, -A, -R, -Sketch, Stylized ImageNet or cue conflicts.

    Args:
        path: the folder of the set, as it is distributed and unpacked.

    Returns:
        The set. Its listing is read and checked here, its images later.

    Raises:
        DataError: nothing is there, or it is not laid out as a published set; the message says what is wrong and
            the layout that is expected.

    Examples:
        >>> from surgeon.data.shifted.opening import open_shift
        >>> open_shift("sets/CIFAR-10-C").name  # doctest: +SKIP
        'CIFAR-10-C'
    """
    folder = Path(path)
    with readable(path):
        if not folder.is_dir():
            why = "is a file: archives are not unpacked" if folder.exists() else "is not there"
            raise DataError(f"{shown(path)} {why}; expected is one of: {LAYOUTS}")
        opener = _opener(folder)
        if opener is None:
            inner = next((f for f in folders(folder) if _opener(folder / f)), None)
            hint = f"did you mean {shown(folder / inner)}? Expected" if inner else "expected"
            raise DataError(f"{shown(path)} is not a published shifted set; {hint} is one of: {LAYOUTS}")
        return opener(folder)


def _opener(folder: Path) -> Callable[[Path], ShiftSet] | None:
    if any(folder.glob("*.npy")):
        return cifar_c.open_cifar_c
    inner = folders(folder)
    if {*inner} & {*CORRUPTIONS, *EXTRA, *imagenet_c.GROUPS}:
        return imagenet_c.open_imagenet_c
    if {*inner} & {*CUES}:
        return cue_conflict.open_cue_conflict
    if any(_WORDNET.fullmatch(n) for n in inner):
        return imagenet_folders.open_imagenet_folder
    return None
