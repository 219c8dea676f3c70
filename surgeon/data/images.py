"""Labelled images in memory."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

SPLITS = ("train", "val", "test")
"""The splits of a source, by the names that surgeon gives them."""
SYNONYMS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
"""The names that folders and files of a split may have, in lower case."""
_PARTS = re.compile(
    r"dev|devel|development|eval|evaluation|hold-?out|held-?out|(fold|split|part|shard|chunk|batch)[ _-]?\d+"
)
"""Names of parts of a set that are not splits of it: of them nothing says what they are for."""
_ENDING = re.compile(r"[ _-]*(set|data|images)$")


def split_of(name: str) -> str | None:
    """The split that a folder's or file's name says, without regard to case, such as `train` for `Training_set`.

    Args:
        name: the name.

    Returns:
        The split by its name in `SPLITS`; None for another name.

    Examples:
        >>> from surgeon.data.images import split_of
        >>> split_of("Testing"), split_of("train_set"), split_of("trains")
        ('test', 'train', None)
    """
    plain = _ENDING.sub("", name.lower())
    return next((split for split, names in SYNONYMS.items() if plain in names), None)


def is_part(name: str) -> bool:
    """Whether a name is one that a part of a set has, and no split as `split_of` knows them.

    Args:
        name: the name.

    Examples:
        >>> from surgeon.data.images import is_part
        >>> is_part("dev"), is_part("fold_0"), is_part("cat"), is_part("train")
        (True, True, False, False)
    """
    return _PARTS.fullmatch(_ENDING.sub("", name.lower())) is not None


class Images(NamedTuple):
    """A labelled set in memory.

    Attributes:
        x: (N, C, H, W), float32 in [0, 1] or uint8 from 0 to 255.
        y: (N,) int64.

    Examples:
        >>> images = Images(torch.rand(8, 3, 32, 32), torch.arange(8))
        >>> len(images.x), images.y.dtype
        (8, torch.int64)
    """

    x: Tensor
    y: Tensor


def pixels(x: Tensor) -> Tensor:
    """Convert stored images to float32 in [0, 1].

    Args:
        x: floats in [0, 1], or uint8 from 0 to 255.

    Returns:
        float32 of the same shape.

    Examples:
        >>> import torch
        >>> from surgeon.data import pixels
        >>> pixels(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()
