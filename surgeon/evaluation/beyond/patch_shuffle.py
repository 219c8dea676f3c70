"""Shuffled patches: what a model still recognises when shape is removed and texture remains."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from surgeon.arguments import checked_seed
from surgeon.errors import DataError
from surgeon.images import check_images


def patch_shuffle(images: Tensor, grid: int, *, seed: int = 0) -> Tensor:
    """Cut each image into grid × grid patches and shuffle them.

    The order of sample i depends on (seed, i) only, not on the other samples of the batch. For grid ≥ 2 it is
    never the original order; grid = 1 returns the images unchanged.

    Source: Luo et al. 2020, "Defective Convolutional Networks". Here: where grid does not divide a side, the
    largest central region that it divides is shuffled, and the border stays.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        grid: Patches per side, at least 1 and at most the shorter side.
        seed: Seed of the orders.

    Returns:
        (N, C, H, W): new images on the same device.

    Raises:
        DataError: `images` are of another kind, or `grid` is out of range.

    Examples:
        >>> import torch
        >>> from surgeon.evaluation.beyond.patch_shuffle import patch_shuffle
        >>> images = torch.rand(2, 3, 8, 8)
        >>> shuffled = patch_shuffle(images, 4)
        >>> torch.equal(shuffled.flatten().sort().values, images.flatten().sort().values)
        True
    """
    seed = checked_seed(seed)
    check_images(images)
    height, width = images.shape[-2:]
    if not isinstance(grid, int) or not 1 <= grid <= min(height, width):
        raise DataError(f"grid={grid} must be from 1 to the shorter side of the images, {height}x{width}")
    h, w = height // grid, width // grid
    top, left = (height - h * grid) // 2, (width - w * grid) // 2
    shuffled = images.clone()
    region = shuffled[..., top : top + h * grid, left : left + w * grid]
    for i, part in enumerate(region):
        patches = part.reshape(-1, grid, h, grid, w).permute(1, 3, 0, 2, 4).flatten(0, 1)
        moved = patches[_order(grid * grid, seed, i).to(images.device)].unflatten(0, (grid, grid))
        part.copy_(moved.permute(2, 0, 3, 1, 4).reshape(part.shape))
    return shuffled


def _order(count: int, seed: int, index: int) -> Tensor:
    """A permutation of `count` items, int64 (count,), other than the identity if count > 1."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{index}".encode()))
    still = torch.arange(count)
    order = torch.randperm(count, generator=generator)
    while count > 1 and torch.equal(order, still):
        order = torch.randperm(count, generator=generator)
    return order
