"""Augmentation of a batch: pad and crop, flip (the papers'), and timm's mixup and cutmix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surgeon.recipe import Training
from surgeon.tensors.shard import Shard
from surgeon.training.randomness import seed_of, stream

if TYPE_CHECKING:
    from timm.data import Mixup


def augment(x: Tensor, settings: Training, shard: Shard, *place: object) -> Tensor:
    """Images (n, C, H, W) padded by zeros and cropped at random, then mirrored with probability ½.

    Each image's choice is a function of `place` (seed, epoch, step) and its number in the whole batch.
    """
    if not settings.pad and not settings.flip:
        return x
    generator = stream(*place, "augment")
    shifts = torch.randint(0, 2 * settings.pad + 1, (shard.total, 2), generator=generator)
    mirrored = torch.rand(shard.total, generator=generator) < 0.5
    n = len(x)
    if settings.pad:
        x = crop(x, shard.take(shifts, n).to(x.device), settings.pad)
    if settings.flip:
        x = torch.where(shard.take(mirrored, n).to(x.device).view(-1, 1, 1, 1), x.flip(3), x)
    return x


def crop(x: Tensor, shifts: Tensor, pad: int) -> Tensor:
    """(n, C, H, W) of each image padded by `pad` zeros, cut at its row and column in `shifts` (n, 2)."""
    n, _, height, width = x.shape
    padded = torch.nn.functional.pad(x, (pad, pad, pad, pad))
    rows = shifts[:, 0, None] + torch.arange(height, device=x.device)
    columns = shifts[:, 1, None] + torch.arange(width, device=x.device)
    sample = torch.arange(n, device=x.device)[:, None, None]
    # advanced indices around a slice: the result is (n, H, W, C)
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def mixer(settings: Training, classes: int) -> Mixup | None:
    """timm's Mixup with the settings' α, or None where none is set."""
    if not settings.mixup and not settings.cutmix:
        return None
    from timm.data import Mixup

    return Mixup(
        mixup_alpha=settings.mixup, cutmix_alpha=settings.cutmix, label_smoothing=settings.smoothing, num_classes=classes
    )  # fmt: skip


def mix(mixup: Mixup, x: Tensor, y: Tensor, *place: object) -> tuple[Tensor, Tensor]:
    """Mixed images and soft labels (n, classes). An odd image is left as it is: timm mixes pairs."""
    import numpy

    was = numpy.random.get_state()
    numpy.random.seed(seed_of(*place, "mix") % 2**32)
    try:
        even = len(x) - len(x) % 2
        if not even:
            return x, _soft(mixup, y)
        mixed, soft = mixup(x[:even].clone(), y[:even])
        return torch.cat([mixed, x[even:]]), torch.cat([soft, _soft(mixup, y[even:])])
    finally:
        numpy.random.set_state(was)


def _soft(mixup: Mixup, y: Tensor) -> Tensor:
    """Smoothed one-hot labels."""
    off = mixup.label_smoothing / mixup.num_classes
    soft = torch.full((len(y), mixup.num_classes), off, device=y.device)
    return soft.scatter_(1, y.unsqueeze(1), 1 - mixup.label_smoothing + off)
