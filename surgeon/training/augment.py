"""Augmentation of a batch: padding and cropping, flipping (as in the papers), and timm's mixup and cutmix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surgeon.errors import RecipeError
from surgeon.recipe import Training
from surgeon.tensors.shard import Shard
from surgeon.training.randomness import seed_of, stream

if TYPE_CHECKING:
    from timm.data import Mixup


def augment(x: Tensor, settings: Training, shard: Shard, *place: object) -> Tensor:
    """Pad images with zeros and crop them at random, then mirror each with probability ½.

    Args:
        x: (n, C, H, W).
        settings: Padding in pixels and whether to mirror.
        shard: This process's part of the batch; an image's choice depends on its index in the whole batch.
        place: Names the random stream, such as (seed, epoch, step).

    Returns:
        (n, C, H, W).

    Raises:
        RecipeError: The padding is as wide as the images.
    """
    if not settings.pad and not settings.flip:
        return x
    generator = stream(*place, "augment")
    shifts = torch.randint(0, 2 * settings.pad + 1, (shard.total, 2), generator=generator)
    mirrored = torch.rand(shard.total, generator=generator) < 0.5
    n = len(x)
    check_pad(settings.pad, *x.shape[-2:])
    if settings.pad:
        x = crop(x, shard.take(shifts, n).to(x.device), settings.pad)
    if settings.flip:
        x = torch.where(shard.take(mirrored, n).to(x.device).view(-1, 1, 1, 1), x.flip(3), x)
    return x


def check_pad(pad: int, height: int, width: int) -> None:
    """Check that a crop always has a part of its image.

    Args:
        pad: Pixels of padding.
        height: Of the images.
        width: Of the images.

    Raises:
        RecipeError: Some crops would be blank.
    """
    if pad >= min(height, width):
        raise RecipeError(
            f"training.pad={pad} on images of {height}×{width} pixels: some crops would have nothing of their image; "
            f"give less than {min(height, width)}"
        )


def crop(x: Tensor, shifts: Tensor, pad: int) -> Tensor:
    """Pad each image with zeros and cut out the original size at a given shift.

    Args:
        x: (n, C, H, W).
        shifts: (n, 2) row and column of the upper left corner in the padded image, 0 to 2 · pad.
        pad: Zeros on each side.

    Returns:
        (n, C, H, W).
    """
    n, _, height, width = x.shape
    padded = torch.nn.functional.pad(x, (pad, pad, pad, pad))
    rows = shifts[:, 0, None] + torch.arange(height, device=x.device)
    columns = shifts[:, 1, None] + torch.arange(width, device=x.device)
    sample = torch.arange(n, device=x.device)[:, None, None]
    # Advanced indices on both sides of a slice put its axis last: the result is (n, H, W, C).
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def mixer(settings: Training, classes: int) -> Mixup | None:
    """Make timm's Mixup with the settings' α.

    Args:
        settings: α of mixup and of cutmix, and label smoothing.
        classes: Number of the model's classes.

    Returns:
        The Mixup; None if both α are 0.
    """
    if not settings.mixup and not settings.cutmix:
        return None
    from timm.data import Mixup

    return Mixup(
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        label_smoothing=settings.smoothing,
        num_classes=classes,
    )


def mix(mixup: Mixup, x: Tensor, y: Tensor, *place: object) -> tuple[Tensor, Tensor]:
    """Mix images and labels. The last image of an odd batch is left as it is, since timm mixes pairs.

    Args:
        mixup: timm's Mixup.
        x: (n, C, H, W).
        y: (n,) class indices.
        place: Names the random stream, such as (seed, epoch, step).

    Returns:
        (mixed images (n, C, H, W), soft labels (n, classes)).
    """
    import numpy

    # timm draws from numpy's global stream: seed it for this call, so that a resumed training draws the same.
    old_state = numpy.random.get_state()
    numpy.random.seed(seed_of(*place, "mix") % 2**32)
    try:
        even = len(x) - len(x) % 2
        if not even:
            return x, _soft(mixup, y)
        mixed, soft = mixup(x[:even].clone(), y[:even])
        return torch.cat([mixed, x[even:]]), torch.cat([soft, _soft(mixup, y[even:])])
    finally:
        numpy.random.set_state(old_state)


def _soft(mixup: Mixup, y: Tensor) -> Tensor:
    """Smoothed one-hot labels."""
    off = mixup.label_smoothing / mixup.num_classes
    soft = torch.full((len(y), mixup.num_classes), off, device=y.device)
    return soft.scatter_(1, y.unsqueeze(1), 1 - mixup.label_smoothing + off)
