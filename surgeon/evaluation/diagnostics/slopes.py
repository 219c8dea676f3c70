"""Whether gradients are there, and whether they are the slopes of the function."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.evaluation.attacks.pgd import averaged, margin
from surgeon.evaluation.diagnostics.checks import HALF, STRAY, beyond, rare
from surgeon.results.checked import Check
from surgeon.results.counts import ERROR

_FINITE = 0.01
"""Length of the step of finite differences, L2 in pixels."""
_BESIDE = 2 / 255
"""Linf size of the noise that is added before finite differences are taken."""


def zero_gradients(model: nn.Module, x: Tensor, y: Tensor) -> Check:
    """Count the images at which the cross-entropy, or the margin, has no gradient.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        x: (N, C, H, W) in [0, 1].
        y: (N,) class indices.

    Returns:
        The check.
    """
    counts = {}
    for name in ("ce", "margin"):
        gradient, _, _ = averaged(model, x, y, name, 1, needed=True)
        counts[name] = int((gradient.flatten(1).abs().amax(1) == 0).sum())
    return rare(
        "zero-gradients",
        counts,
        len(x),
        share=STRAY,
        what="have no gradient",
        means="attacks that follow it stand still",
    )


def finite_differences(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Check:
    """Compare the change of the margin along its gradient with the change that the gradient predicts.

    A little noise is added to the images first: flat parts of an image, such as a black background, are
    ties for max pooling and kinks for ReLU, where even a plain network has no slope.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        x: (N, C, H, W) in [0, 1].
        y: (N,) class indices.
        seed: Seed of the noise.

    Returns:
        The check.
    """
    draw = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    x = x * (1 - 2 * _BESIDE) + 2 * _BESIDE * draw
    gradient, _, _ = averaged(model, x, y, "margin", 1, needed=True)
    length = gradient.flatten(1).norm(dim=1)
    unit = gradient / length.clamp_min(1e-30).view(-1, 1, 1, 1)
    with torch.no_grad():
        ahead, behind = (margin(model((x + s * _FINITE * unit).clamp(0, 1)), y) for s in (1, -1))
        # Clamping at 0 and 1 shortens the step: compare with the gradient along the step that remains.
        step = ((x + _FINITE * unit).clamp(0, 1) - (x - _FINITE * unit).clamp(0, 1)).flatten(1)
        expected = (gradient.flatten(1) * step).sum(1)
    ratio = torch.where(
        expected > 0, (ahead - behind) / expected.clamp_min(1e-30), torch.zeros_like(expected)
    )
    wrong = int(((ratio < 0.5) | (ratio > 1.5)).sum())
    return Check(
        code="finite-differences",
        measured={"median ratio": float(ratio.median()), "outside": wrong / len(x)},
        plain=("median ratio",),
        rule="more than half of the images outside 0.5 to 1.5",
        failed=beyond(wrong, len(x), HALF) <= ERROR,
        reason=f"gradients are not the slopes of the function at {wrong} of {len(x)} images: something hides them",
    )
