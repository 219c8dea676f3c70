"""CIFAR-10-C and CIFAR-100-C as they are distributed: labels.npy beside a file of arrays for each corruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from surgeon.data.names import shown
from surgeon.data.shifted.classes import CIFAR10, CIFAR100
from surgeon.data.shifted.sets import Part, Reading, ShiftSet
from surgeon.errors import DataError, nearest
from surgeon.results.shifted import CORRUPTIONS, EXTRA, SEVERITIES

IMAGES = 10_000
"""Images at each severity."""
LABELS = "labels.npy"
SHAPE = (32, 32, 3)
LAYOUT = (
    "CIFAR-10-C and CIFAR-100-C: FOLDER/labels.npy of 50,000 labels and FOLDER/gaussian_noise.npy, …, each uint8 "
    "(50000, 32, 32, 3), severity after severity"
)
_LAST = 8
"""How many images at the end of a file are looked at: no picture is of one colour."""


def open_cifar_c(folder: Path) -> ShiftSet:
    """Open CIFAR-10-C or CIFAR-100-C. Images stay in their files until they are read.

    Args:
        folder: where labels.npy lies.

    Returns:
        The set: a part for each corruption and severity.

    Raises:
        DataError: a file is missing, damaged, too short, or of another shape or type; a corruption is unknown;
            or the labels are not five times those of the 10,000 test images.
    """
    path = folder / LABELS
    if not path.is_file():
        raise DataError(f"{shown(path)} is not there; expected is {LAYOUT}")
    labels, classes = _labels(path)
    files = sorted(p for p in folder.glob("*.npy") if p.name != LABELS)
    known = (*CORRUPTIONS, *EXTRA)
    for file in files:
        if file.stem not in known:
            raise DataError(f"{shown(file)}: {file.stem!r} is no corruption; {nearest(file.stem, known)}")
    if not files:
        raise DataError(f"{shown(folder)} has no file of a corruption; expected is {LAYOUT}")
    arrays = {f.stem: _images(f) for f in files}
    order = [k for k in known if k in arrays]
    parts = [Part(k, s, _reading(arrays[k], s)) for k in order for s in SEVERITIES]
    lacking = [k for k in CORRUPTIONS if k not in arrays]
    return ShiftSet(
        name="CIFAR-10-C" if classes == CIFAR10 else "CIFAR-100-C",
        kind="cifar-c",
        source=str(folder),
        parts=tuple(parts),
        labels=labels,
        classes=classes,
        contents=_contents(labels, arrays),
        whole=True,
        notes=(f"{len(lacking)} of 15 corruptions lack ({', '.join(lacking)}): no mean",) if lacking else (),
    )


def _array(path: Path, **how: Any) -> Any:
    import numpy

    try:
        return numpy.load(path, allow_pickle=False, **how)
    except (ValueError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{shown(path)} is damaged or cut short: {reason}") from error


def _labels(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """The labels of the test images, once, and the names of their classes."""
    stored = _array(path)
    if stored.shape != (5 * IMAGES,) or stored.dtype.kind not in "iu":
        raise DataError(
            f"{shown(path)} is {stored.dtype} {stored.shape}; expected are {5 * IMAGES:,} whole numbers, "
            f"{IMAGES:,} for each of five severities"
        )
    labels = torch.from_numpy(stored.astype("int64")).reshape(5, IMAGES)
    for severity, other in enumerate(labels[1:], 2):
        if not torch.equal(labels[0], other):
            first = int((labels[0] != other).nonzero()[0])
            raise DataError(
                f"{shown(path)}: the labels of severity {severity} are not those of severity 1, "
                f"the first at image {first}: {int(other[first])} and {int(labels[0][first])}"
            )
    once = labels[0].contiguous()
    for classes in (CIFAR10, CIFAR100):
        counts = torch.bincount(once.clamp_min(0), minlength=len(classes))
        if int(once.min()) >= 0 and counts.tolist() == [IMAGES // len(classes)] * len(classes):
            return once, classes
    raise DataError(
        f"{shown(path)} has {len(once.unique())} classes from {int(once.min())} to {int(once.max())}; expected are "
        f"{IMAGES // 10:,} images of each of 10 classes, or {IMAGES // 100:,} of each of 100"
    )


def _images(path: Path) -> Any:
    pixels = _array(path, mmap_mode="r")
    wanted = (5 * IMAGES, *SHAPE)
    if pixels.shape != wanted or pixels.dtype != "uint8":
        severities = ""
        if pixels.shape[1:] == SHAPE and len(pixels) % IMAGES == 0 and len(pixels):
            severities = f", {len(pixels) // IMAGES} severities"
        raise DataError(
            f"{shown(path)} is {pixels.dtype} {pixels.shape}{severities}; expected is uint8 {wanted}, five severities"
        )
    over = path.stat().st_size - pixels.offset - pixels.nbytes
    if over:
        raise DataError(f"{shown(path)} is {over:,} bytes longer than its {len(pixels):,} images")
    last = pixels[-_LAST:].reshape(len(pixels[-_LAST:]), -1)
    if (last.min(1) == last.max(1)).all():
        raise DataError(f"{shown(path)} ends in images of one colour: it was not written to its end")
    return pixels


def _reading(array: Any, severity: int) -> Reading:
    def read(places: Sequence[int], size: tuple[int, ...]) -> Tensor:
        from PIL import Image

        from surgeon.data.decoding import to_bytes

        held = array[[(severity - 1) * IMAGES + int(i) for i in places]]
        if tuple(size) == (3, 32, 32):
            images = torch.from_numpy(held).permute(0, 3, 1, 2)
        else:
            images = torch.stack([to_bytes(Image.fromarray(image), tuple(size)) for image in held])
        return images.float() / 255

    return read


def _contents(labels: Tensor, arrays: dict[str, Any]) -> str:
    """A hash of the labels and of a few images of each file: all of them would be gigabytes."""
    hashed = xxhash.xxh3_64(labels.numpy().tobytes())
    for name, array in sorted(arrays.items()):
        hashed.update(name.encode())
        hashed.update(array[:: max(1, len(array) // 50)].tobytes())
    return hashed.hexdigest()
