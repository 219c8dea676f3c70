"""Balls around images in [0, 1], Linf and L2: a random way in, the steepest direction, the way back inside."""

from __future__ import annotations

import torch
from torch import Tensor

STEP = 2.5
"""A PGD step is STEP · ε / steps, as is usual since Madry et al. 2018."""


def random_offset(shape: tuple[int, ...], eps: float, norm: str, generator: torch.Generator | None) -> Tensor:
    """A way into each sample's ball, (N, C, H, W): uniform in Linf; in L2 a uniform direction and length."""
    if norm == "linf":
        return eps * (torch.rand(shape, generator=generator) * 2 - 1)
    away = direction(torch.randn(shape, generator=generator), "l2")
    return eps * away * torch.rand(len(away), 1, 1, 1, generator=generator)


def direction(gradient: Tensor, norm: str) -> Tensor:
    """The steepest ascent of each sample: the sign for Linf, the gradient at unit length for L2."""
    if norm == "linf":
        return gradient.sign()
    flat = gradient.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    # so that tiny gradients have a length too
    scaled = flat / largest.clamp_min(torch.finfo(flat.dtype).tiny)
    return (scaled / scaled.norm(dim=1, keepdim=True).clamp_min(1e-12)).view_as(gradient)


def project(x: Tensor, images: Tensor, eps: float, norm: str) -> Tensor:
    """The nearest point of each image's ball, then of [0, 1]; detached."""
    delta = x - images
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    else:
        length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        delta = delta * (eps / length.clamp_min(1e-12)).clamp(max=1)
    return (images + delta).clamp(0, 1).detach()
