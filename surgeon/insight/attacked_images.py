"""A few images before and after an attack on a model, of which two pictures are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class AttackedImages:
    """Images before and after an attack on a model.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) true classes.
        adversarial: (N, C, H, W) in [0, 1].
        names: Names of the classes; None for numbers.
        seed: Seed for a model that is random.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    adversarial: Tensor
    names: Sequence[str] | None = None
    seed: int = 0
