"""Balls around images in [0, 1], Linf, L2 and L1: a random point, the steepest direction, the projection."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.l1_ball import onto_l1_ball

STEP = 2.5
"""The size of a PGD step is STEP · ε / steps, after Madry et al. 2018."""
SPARSE = 0.01
"""Share of the pixels that a step in L1 moves (Tramèr & Boneh 2019: the 99th percentile)."""


def random_offset(shape: tuple[int, ...], eps: float, norm: str, generator: torch.Generator | None) -> Tensor:
    """Draw a random offset within each sample's ball.

    It is uniform in Linf; in L2 its direction and its length are uniform, in L1 the values are Laplace's, scaled to
    a uniform length.

    Args:
        shape: (N, C, H, W).
        eps: Radius of the ball, in [0, 1] pixels.
        norm: "linf", "l2" or "l1".
        generator: Source of the draws; None for torch's global stream.

    Returns:
        (N, C, H, W) on the CPU.

    Examples:
        >>> import torch
        >>> from surgeon.ball import random_offset
        >>> bool(random_offset((2, 3, 4, 4), 0.1, "l2", None).flatten(1).norm(dim=1).max() <= 0.1)
        True
    """
    if norm == "linf":
        return eps * (torch.rand(shape, generator=generator) * 2 - 1)
    if norm == "l1":
        signs, sizes = torch.rand(shape, generator=generator) - 0.5, torch.rand(shape, generator=generator)
        drawn = -signs.sign() * (1 - sizes).log()
        length = drawn.flatten(1).abs().sum(1).clamp_min(1e-12).view(-1, 1, 1, 1)
        return eps * drawn / length * torch.rand(len(drawn), 1, 1, 1, generator=generator)
    directions = direction(torch.randn(shape, generator=generator), "l2")
    return eps * directions * torch.rand(len(directions), 1, 1, 1, generator=generator)


def direction(gradient: Tensor, norm: str) -> Tensor:
    """Return each sample's direction of ascent: the sign in Linf, the gradient at unit length in L2.

    In L1 the steepest direction moves one pixel, which is slow: the 1 % of the pixels with the largest slopes move
    alike, at unit L1 length in all (Tramèr & Boneh 2019, section 4).

    Args:
        gradient: (N, C, H, W).
        norm: "linf", "l2" or "l1".

    Returns:
        (N, C, H, W).

    Examples:
        >>> import torch
        >>> from surgeon.ball import direction
        >>> direction(torch.tensor([[[[-2.0, 0.0, 3.0]]]]), "linf").flatten().tolist()
        [-1.0, 0.0, 1.0]
    """
    if norm == "linf":
        return gradient.sign()
    flat = gradient.flatten(1)
    if norm == "l1":
        size = flat.abs()
        least = size.topk(max(1, round(SPARSE * flat.shape[1])), dim=1).values[:, -1:]
        signs = torch.where(size >= least, flat.sign(), torch.zeros_like(flat))
        return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)
    largest = flat.abs().amax(1, keepdim=True)
    # Scaled by their largest value first: the squares of tiny gradients would underflow to a length of 0.
    scaled = flat / largest.clamp_min(torch.finfo(flat.dtype).tiny)
    return (scaled / scaled.norm(dim=1, keepdim=True).clamp_min(1e-12)).view_as(gradient)


def project(x: Tensor, images: Tensor, eps: float, norm: str) -> Tensor:
    """Project points onto each image's ball, then onto [0, 1]; in L1 onto what both have in common.

    Args:
        x: (N, C, H, W), the points.
        images: (N, C, H, W) in [0, 1], the centres.
        eps: Radius of the ball, in [0, 1] pixels.
        norm: "linf", "l2" or "l1".

    Returns:
        (N, C, H, W), detached.

    Examples:
        >>> import torch
        >>> from surgeon.ball import project
        >>> images = torch.full((1, 1, 1, 2), 0.5)
        >>> project(images + torch.tensor([0.75, -0.75]), images, 0.25, "linf").flatten().tolist()
        [0.75, 0.25]
    """
    if norm == "l1":
        return onto_l1_ball(x, images, eps).detach()
    delta = x - images
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    else:
        length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        delta = delta * (eps / length.clamp_min(1e-12)).clamp(max=1)
    return (images + delta).clamp(0, 1).detach()
