"""Decode a source's images at once, in an order fixed by a seed, with or without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgeon.arguments import checked_count, checked_seed
from surgeon.data.decoding import read
from surgeon.data.faults import check_labelled
from surgeon.data.forms import check_no_tables
from surgeon.data.images import SPLITS, Images
from surgeon.data.listing import folder_entries
from surgeon.data.names import readable, shown
from surgeon.data.refusals import LIBRARY, meant, no_images
from surgeon.data.scans import DIGITS_SIZE, digits_as
from surgeon.data.tables import parquet_entries
from surgeon.errors import DataError
from surgeon.host import in_own_state


@in_own_state()
def images(source: str | Path, count: int, input_size: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """Read images from a source, without labels.

    Args:
        source: 'digits', a folder with images anywhere below it, or a parquet file in the Hugging Face layout
            (`image: {bytes, path}`, `label`).
        count: number of images; all of them if there are fewer.
        input_size: (C, H, W), C 1 (gray) or 3 (RGB), to which images are resized regardless of aspect.
        seed: decides which images are taken, and their order.

    Returns:
        (N, C, H, W) float32 in [0, 1].

    Raises:
        DataError: the source is missing or empty, an image cannot be read (the message names it), or the size
            is not that of an image.
        ArgumentError: `count` or `seed` is not valid.

    Examples:
        >>> from surgeon.data import images
        >>> images("digits", 8, (3, 16, 16)).shape
        torch.Size([8, 3, 16, 16])
    """
    return labelled(source, input_size, count=count, seed=seed, need_labels=False).x


@in_own_state()
def labelled(
    source: str | Path,
    input_size: tuple[int, ...] | None = None,
    *,
    count: int | None = None,
    split: str = "train",
    seed: int = 0,
    need_labels: bool = True,
) -> Images:
    """Read images with labels from a source, in an order fixed by `seed`.

    A folder's classes are the names of its sub-folders, in alphabetical order. In a folder whose sub-folders
    are named like splits, the classes of all splits are numbered together, so that a class which is absent
    from one split does not shift the others.

    Args:
        source: as for `images`.
        input_size: (C, H, W), C 1 (gray) or 3 (RGB), to which images are resized regardless of aspect; by
            default the size of the first image.
        count: number of images; None for all.
        split: the split to read. A parquet file is one split, whatever this says.
        seed: decides which images are taken, and their order.
        need_labels: require labels; False sets y to −1.

    Returns:
        x (N, C, H, W) float32 in [0, 1], y (N,) int64.

    Raises:
        DataError: as for `images`; the source lacks the split, or an image has no label.
        ArgumentError: `count` or `seed` is not valid.

    Examples:
        >>> from surgeon.data import labelled
        >>> result = labelled("digits", (1, 8, 8), count=100, split="test")
        >>> tuple(result.x.shape), tuple(result.y.shape)
        ((100, 1, 8, 8), (100,))
    """
    if input_size is not None and (
        len(input_size) != 3 or input_size[0] not in (1, 3) or min(input_size[1:]) < 1
    ):
        raise DataError(f"images are (1 or 3, H, W), not {tuple(input_size)}")
    seed = checked_seed(seed)
    count = None if count is None else checked_count("count", count)
    if str(source) == "digits":
        return _labelled_digits(input_size, count, split, seed)
    path = Path(source)
    with readable(source):
        if path.is_dir():
            entries: list[tuple[Any, int]] = list(folder_entries(path, split))
            if entries:
                check_no_tables(path)
        elif path.suffix.lower() == ".parquet" and path.is_file():
            entries = list(parquet_entries(path))
        else:
            named = str(source).lower().startswith(LIBRARY)
            why = "" if named or path.exists() else " (nothing is there)"
            hint = (
                meant(str(source), by_name=False) or "give 'digits', a folder of images, or a .parquet file"
            )
            raise DataError(f"{shown(source)} is not a source of images; {hint}{why}")
    if not entries:
        raise DataError(no_images(path))
    if need_labels:
        check_labelled(source, entries)
    chosen = [entries[i] for i in _order(len(entries), count, seed)]
    if input_size is None:
        first = read(entries[0][0], None)
        input_size = tuple(first.shape)
    x = torch.stack([read(item, input_size) for item, _ in chosen])
    labels = [label if need_labels else -1 for _, label in chosen]
    return Images(x, torch.tensor(labels, dtype=torch.int64))


def _labelled_digits(input_size: tuple[int, ...] | None, count: int | None, split: str, seed: int) -> Images:
    if split not in SPLITS:
        raise DataError(f"the digits have the splits {', '.join(SPLITS)}, not {split!r}")
    scans = digits_as(input_size or (1, DIGITS_SIZE, DIGITS_SIZE))[split]
    order = _order(len(scans.x), count, seed)
    return Images(scans.x[order].contiguous(), scans.y[order])


def _order(total: int, count: int | None, seed: int) -> list[int]:
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    return order if count is None else order[:count]
