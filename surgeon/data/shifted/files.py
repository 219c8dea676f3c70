"""Files of images below folders of classes, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import xxhash
from torch import Tensor

from surgeon.data.contents import WHOLE, to_read
from surgeon.data.decoding import picture_of, to_bytes
from surgeon.data.listing import SUFFIXES, UNREAD
from surgeon.data.names import shown
from surgeon.data.shifted.sets import Reading
from surgeon.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

CROP = 0.875
"""Share of the shorter side that the centre crop takes: 224 of 256."""
_STATED = 100_000
"""Up to so many files are asked for their size; ImageNet-C has millions."""


def folders(path: Path) -> list[str]:
    """The names of a folder's visible sub-folders, sorted.

    Args:
        path: the folder.
    """
    with os.scandir(path) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def images(folder: Path) -> list[str]:
    """The names of the images in one folder, sorted.

    Args:
        folder: the folder.

    Raises:
        DataError: it has no images, has a folder, or has an image of a kind that is not read.
    """
    with os.scandir(folder) as listed:
        entries = sorted((e for e in listed if not e.name.startswith(".")), key=lambda e: e.name)
    inner = next((e.name for e in entries if e.is_dir()), None)
    if inner is not None:
        raise DataError(f"{shown(folder)} holds a folder, {shown(inner)}, where its images are expected")
    names = [e.name for e in entries if Path(e.name).suffix.lower() in (*SUFFIXES, *UNREAD)]
    odd = next((n for n in names if Path(n).suffix.lower() in UNREAD), None)
    if odd is not None:
        raise DataError(f"{shown(folder / odd)} is an image of a kind that is not read")
    if not names:
        raise DataError(f"{shown(folder)} has no images")
    return names


def no_images_in(folder: Path) -> None:
    """Check that no image lies in a folder itself, where it would be of no class.

    Args:
        folder: the folder.

    Raises:
        DataError: one does.
    """
    loose = next((p.name for p in folder.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES), None)
    if loose is not None:
        raise DataError(f"{shown(folder / loose)} lies in no folder of a class")


def cropped(picture: Image, size: tuple[int, ...]) -> Tensor:
    """Take a picture as it is where it has the size, else its shorter side resized and the centre cropped.

    Args:
        picture: the picture.
        size: (C, H, W).

    Returns:
        (C, H, W) uint8.
    """
    from torchvision.transforms import functional

    height, width = size[1:]
    if picture.size != (width, height):
        picture = functional.center_crop(
            functional.resize(picture, [round(max(height, width) / CROP)]), [height, width]
        )
    return to_bytes(picture, size)


def reading(
    files: Sequence[Path] | Callable[[int], Path],
    convert: Callable[[Image, tuple[int, ...]], Tensor] = cropped,
) -> Reading:
    """How the images of files are read, several at a time.

    Args:
        files: the file of each image, or a function that gives it.
        convert: makes (C, H, W) uint8 of a picture and a size.
    """
    at = files if callable(files) else files.__getitem__

    def read(places: Sequence[int], size: tuple[int, ...]) -> Tensor:
        def one(place: int) -> Tensor:
            return convert(picture_of(at(int(place)), size[0] == 1), tuple(size))

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return torch.stack([*pool.map(one, places)]).float() / 255

    return read


def hashed(names: Iterable[str], files: Callable[[int], Path], number: int) -> str:
    """A hash of the names of images, and of the bytes of those files that `surgeon.data.contents` would read.

    Args:
        names: the names, in order.
        files: the file of each image.
        number: how many there are.
    """
    digest = xxhash.xxh3_64()
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
    sizes = [files(i).stat().st_size for i in range(number)] if number <= _STATED else [WHOLE + 1]
    digest.update(f"{sizes}".encode())
    for i in to_read(number, sum(sizes)):
        digest.update(files(i).read_bytes())
    return digest.hexdigest()
