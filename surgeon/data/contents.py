"""Summarise the contents of a set of images as data that can be compared; a name is not enough."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xxhash
from torch import Tensor
from torch.utils.data import Dataset

from surgeon.data.images import Images
from surgeon.data.lazy_images import Borrowed, Item, Records
from surgeon.values import raw

WHOLE = 256 * 2**20
"""Up to so many bytes all files are hashed; of a larger set, a sample."""
SAMPLE = 256
"""Files, evenly spaced, that are hashed of a larger set; also decoded images of a library's data set."""


def contents_of(data: Images | Dataset) -> dict[str, Any]:
    """Summarise the contents of a set of images.

    Of Images in memory, all pixels and labels are hashed. Of Records, each file counts with its name, size
    and label; its bytes too if all files have at most 256 MiB together, else those of about 256 of them. Of
    another data set only the length is known. Names are those of a file and its folder, so that a data set
    may be moved as a whole.

    Args:
        data: Images, Records, or another data set.

    Returns:
        The number of images, hashes of names, sizes, labels and contents, and `read`: how many were read.

    Raises:
        OSError: a file has disappeared.

    Examples:
        >>> from surgeon.data import contents_of, digits
        >>> result = contents_of(digits()["test"])
        >>> result["images"], result["read"]
        (360, 360)
    """
    if isinstance(data, Images):
        return {
            "images": len(data.x),
            "labels": _tensor(data.y),
            "pixels": _tensor(data.x),
            "read": len(data.x),
        }
    if isinstance(data, Records):
        return _of_records(data)
    return {"images": len(data), "read": 0} if hasattr(data, "__len__") else {"read": 0}


def _of_records(data: Records) -> dict[str, Any]:
    items = [item for item, _ in data.entries]
    sizes = [_size(item) for item in items]
    listing = xxhash.xxh3_128()
    for item, size, label in zip(items, sizes, data.labels.tolist(), strict=True):
        listing.update(f"{_name(item)}\0{size}\0{label}\0".encode(errors="surrogateescape"))
    decoded = any(isinstance(item, Borrowed) for item in items)
    chosen = to_read(len(items), WHOLE + 1 if decoded else sum(sizes))
    contents = xxhash.xxh3_128()
    for part in (_bytes(items[i]) for i in chosen):
        contents.update(part)
    return {
        "images": len(items),
        "listing": listing.hexdigest(),
        "contents": contents.hexdigest(),
        "read": len(chosen),
    }


def to_read(number: int, size: int) -> range:
    """Which of several files are read to know what they hold: all, or evenly spaced ones.

    Args:
        number: The number of files.
        size: Their bytes together.

    Returns:
        Their places.
    """
    return range(0, number, 1 if size <= WHOLE else max(1, number // SAMPLE))


def _name(item: Item) -> str:
    """A file with its folder; the row of a parquet file; an image's number in a library's data set."""
    if isinstance(item, Path):
        return "/".join(item.parts[-2:])
    return Path(item[0]).name if isinstance(item, tuple) else str(item)


def _size(item: Item) -> int:
    if isinstance(item, Path):
        return item.stat().st_size
    return len(item[1]) if isinstance(item, tuple) else 0


def _bytes(item: Item) -> bytes:
    if isinstance(item, Path):
        return item.read_bytes()
    if isinstance(item, tuple):
        return item[1]
    picture = item.picture()
    return f"{picture.size} {picture.mode}".encode() + picture.tobytes()


def _tensor(values: Tensor) -> str:
    digest = xxhash.xxh3_128(f"{values.dtype} {tuple(values.shape)}".encode())
    for part in _parts(values):
        digest.update(raw(part).data)
    return digest.hexdigest()


def _parts(values: Tensor) -> Iterable[Tensor]:
    """Split into parts: an expanded channel would otherwise be copied for all images at once."""
    return values.split(1024) if values.dim() else [values]


def differing(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    """Describe how two contents of `contents_of` differ.

    Args:
        before: the recorded contents; None if no contents were recorded.
        now: the present contents; None if there are no contents.

    Returns:
        A phrase; empty where they are equal.

    Examples:
        >>> from surgeon.data import contents_of, differing, digits
        >>> sets = digits()
        >>> differing(contents_of(sets["val"]), contents_of(sets["train"]))
        '1077 images, not 360'
    """
    if before == now:
        return ""
    if not before or not now:
        return "was not there before" if now else "is not there"
    if before.get("images") != now.get("images"):
        return f"{now.get('images')} images, not {before.get('images')}"
    if before.get("listing") != now.get("listing"):
        return "other names, sizes or labels"
    return "other labels" if before.get("labels") != now.get("labels") else "other contents"
