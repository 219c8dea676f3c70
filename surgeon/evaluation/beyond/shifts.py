"""Accuracy away from clean images: noise curves, shuffled patches and common corruptions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgeon.arguments import checked_number, checked_seed
from surgeon.errors import ArgumentError
from surgeon.evaluation.engine.scoring import check_labels, score
from surgeon.models.quiet import held_still
from surgeon.results.assessment import Corruption, Curve, Point
from surgeon.results.statistics import Share, wilson


def curve(
    model: nn.Module, images: Tensor, labels: Tensor, kind: str, levels: Sequence[float], *, seed: int = 0
) -> Curve:
    """Measure accuracy at each level of a shift, on one draw.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        kind: "gaussian": x + N(0, level²), clipped. "uniform": (x + U(0, level)) / (1 + level), the
            weight-map paper's. "patches": cut into level × level patches and shuffled, after the paper of
            defective convolutions.
        levels: Levels, in [0, 1] pixels or patches per side.
        seed: Seed of the draws.

    Returns:
        The curve, one point for each level.

    Raises:
        ArgumentError: An unknown kind, or an invalid level or seed.
        DataError: Labels do not fit the images.
    """
    check_labels(images, labels)
    points, seed = [], checked_seed(seed)
    for level in [checked_number("a level", level) for level in levels]:
        generator = torch.Generator().manual_seed(seed)
        if kind == "gaussian":
            moved = (images + level * torch.randn(images.shape, generator=generator)).clamp(0, 1)
        elif kind == "uniform":
            moved = (images + level * torch.rand(images.shape, generator=generator)) / (1 + level)
        elif kind == "patches":
            from surgeon.evaluation.beyond.patch_shuffle import patch_shuffle

            moved = patch_shuffle(images, int(level), seed=seed)
        else:
            raise ArgumentError(f"curve {kind!r} is not known; 'gaussian', 'uniform' and 'patches' are")
        points.append(Point(level=level, share=_share(model, moved, labels, seed)))
    return Curve(kind=kind, points=tuple(points))


def corruption_table(
    model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0, kinds: Sequence[str] | None = None
) -> tuple[Corruption, ...]:
    """Measure accuracy under each common corruption (Hendrycks & Dietterich 2019) at each severity.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1], C 1 or 3.
        labels: (N,) class indices.
        seed: Seed of the corruptions.
        kinds: Names of corruptions; by default all fifteen.

    Returns:
        One row for each corruption and severity, 1 to 5.
    """
    from surgeon.evaluation.beyond.corruptions import KINDS, SEVERITIES, corrupt

    return tuple(
        Corruption(
            kind=kind, severity=s, share=_share(model, corrupt(images, kind, s, seed=seed), labels, seed)
        )
        for kind in kinds or KINDS
        for s in SEVERITIES
    )


def _share(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Share:
    with held_still(model, seed):
        right = int((score(model, images, labels).prediction == labels).sum())
    return wilson(right, len(labels))
