"""ImageNet-A, ImageNet-R, ImageNet-Sketch and Stylized ImageNet: folders named by WordNet ids.

The folders decide the classes: the 200 of ImageNet-A or of ImageNet-R, or all 1,000. On the former two a network
answers among the 200 classes alone, as in the papers (Hendrycks et al., arXiv 1907.07174 and 2006.16241).
"""

from __future__ import annotations

from pathlib import Path

import torch

from surgeon.data.names import shown
from surgeon.data.shifted.classes import imagenet, imagenet_subset
from surgeon.data.shifted.files import folders, hashed, images, no_images_in, reading
from surgeon.data.shifted.sets import Kind, Part, ShiftSet
from surgeon.errors import DataError

LAYOUT = (
    "ImageNet-A, ImageNet-R, ImageNet-Sketch, Stylized ImageNet: FOLDER/n01440764/*.JPEG, one folder for each "
    "of their 200 or 1,000 WordNet ids"
)
COUNTS = {"ImageNet-A": 7_500, "ImageNet-R": 30_000, "ImageNet-Sketch": 50_889, "Stylized ImageNet": 50_000}
"""How many images were published; of Stylized ImageNet those of its validation set."""
_BY_NAME = {"sketch": "ImageNet-Sketch", "stylized": "Stylized ImageNet"}
"""What the folder's name, or that of the folder around it, says."""


def open_imagenet_folder(folder: Path) -> ShiftSet:
    """Open a folder of ImageNet's classes.

    Args:
        folder: where the folders of classes lie.

    Returns:
        The set, of one part.

    Raises:
        DataError: a folder is not a class of ImageNet, the classes are neither all 1,000 nor the 200 of ImageNet-A
            or ImageNet-R, or a class has no images.
    """
    no_images_in(folder)
    names = folders(folder)
    known = {*imagenet()}
    odd = next((w for w in names if w not in known), None)
    if odd is not None:
        raise DataError(f"{shown(folder / odd)} is not one of ImageNet's 1,000 classes; expected is {LAYOUT}")
    name, kind = _meant(folder, names)
    files = [(c, folder / w / n) for c, w in enumerate(names) for n in images(folder / w)]
    expected = COUNTS.get(name)
    whole = expected is None or len(files) == expected
    return ShiftSet(
        name=name,
        kind=kind,
        source=str(folder),
        parts=(Part(name, None, reading([f for _, f in files])),),
        labels=torch.tensor([c for c, _ in files], dtype=torch.int64),
        classes=tuple(names),
        contents=hashed(
            (f.relative_to(folder).as_posix() for _, f in files), lambda i: files[i][1], len(files)
        ),
        whole=whole,
        notes=() if whole else (f"{len(files):,} images, and {name} has {expected:,}",),
    )


def _meant(folder: Path, names: list[str]) -> tuple[str, Kind]:
    """The set that the classes are of, and how a network answers on it."""
    wanted = {"ImageNet-A": imagenet_subset("a"), "ImageNet-R": imagenet_subset("r")}
    for name, classes in wanted.items():
        if names == sorted(classes):
            return name, "imagenet-subset"
    if names == sorted(imagenet()):
        own = folder.resolve()
        around = (own.name.lower(), own.parent.name.lower())
        return next((n for p in around for word, n in _BY_NAME.items() if word in p), own.name), "imagenet"
    near = min(wanted, key=lambda n: len({*wanted[n]} ^ {*names}))
    lacking, more = sorted({*wanted[near]} - {*names}), sorted({*names} - {*wanted[near]})
    reason = f"lacks {', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''}" if lacking else ""
    reason += " and " if lacking and more else ""
    reason += f"has {', '.join(more[:3])}{', …' if len(more) > 3 else ''} beside" if more else ""
    raise DataError(
        f"{shown(folder)} has {len(names)} classes, neither ImageNet's 1,000 nor the 200 of ImageNet-A or "
        f"ImageNet-R: for {near} it {reason}; expected is {LAYOUT}"
    )
