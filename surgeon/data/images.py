"""Labelled images in memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SPLITS = ("train", "val", "test")
"""The splits of a source, by the names that surgeon gives them."""
SYNONYMS = {"train": ("train", "training"), "val": ("val", "validation", "valid"), "test": ("test",)}
"""What folders and files of a split may be called."""


class Images(NamedTuple):
    """A labelled set: x (N, C, H, W), float32 in [0, 1] or bytes (uint8) from 0 to 255; y int64 (N,)."""

    x: Tensor
    y: Tensor


def pixels(x: Tensor) -> Tensor:
    """float32 in [0, 1] of images stored so, or as bytes."""
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()
