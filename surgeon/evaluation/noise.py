"""Accuracy under random noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.errors import DataError, SurgeonError
from surgeon.evaluation.engine import check_labels, predict
from surgeon.evaluation.normalized import check_images
from surgeon.evaluation.quiet import held_still


def noise_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    levels: Sequence[float],
    *,
    kind: Literal["gaussian", "uniform"] = "gaussian",
    draws: int = 3,
    seed: int = 0,
) -> list[float]:
    """Accuracy at each noise level, the mean over `draws` draws; images (N, C, H, W) in [0, 1].

    gaussian: x + N(0, level²), clipped to [0, 1]. uniform: x + U(0, level), then divided by 1 + level, as
    the weight-map paper has it (renormalised to [0, 1]).

    Raises SurgeonError for an unknown kind or draws below 1, DataError for images or labels that do not fit.
    """
    if kind not in ("gaussian", "uniform"):
        raise SurgeonError(f"noise {kind!r} is not known; 'gaussian' and 'uniform' are")
    if draws < 1:
        raise SurgeonError(f"draws={draws} must be at least 1")
    check_images(images)
    check_labels(images, labels)
    if len(images) == 0:
        raise DataError("there are no images to take an accuracy of")
    generator = torch.Generator().manual_seed(seed)
    found = []
    with held_still(model, seed):
        for level in levels:
            right = 0
            for _ in range(draws):
                if kind == "gaussian":
                    noisy = (images + level * torch.randn(images.shape, generator=generator)).clamp(0, 1)
                else:
                    noisy = (images + level * torch.rand(images.shape, generator=generator)) / (1 + level)
                right += int((predict(model, noisy).labels == labels).sum())
            found.append(right / (draws * len(labels)))
    return found
