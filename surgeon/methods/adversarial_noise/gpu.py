"""The adversarial noise of eq. 4 on a GPU: few kernels over the activations, each pass made once.

Phases, random numbers and the cache belong to the layers, `anl.py` and `canl.py`. This file computes eq. 4
and what is written into CANL's cache, if s(h) is that of one process's batch alone. Other cases go the way of
`maths.py` and `class_cache.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.methods.adversarial_noise.class_cache import is_scaled
from surgeon.methods.adversarial_noise.rows import in_rows, like
from surgeon.tensors import gpu

BLOCK = 2048
"""Numbers that a program processes at once."""
PARTS = 64
"""Largest number of parts of a row; each program has one part."""


def takes(h: Tensor, cache: Tensor | None = None) -> bool:
    """Say whether the noise can be computed here: contiguous rows of at most 32-bit numbers on a GPU.

    Args:
        h: (N, ...).
        cache: CANL's cache, or None.

    Returns:
        Whether it can.
    """
    return h.numel() > 0 and gpu.takes(h) and in_rows(h) and (cache is None or gpu.takes(cache))


def perturbed(h: Tensor, gradient: Tensor, r: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return h + r s(h) g/‖g‖∞, eq. 4; rows of g that are zero or not finite give no noise.

    Args:
        h: (N, ...).
        gradient: Of the shape of `h`; or (classes, ...), with `labels`.
        r: (N,) or (1,), on any device.
        labels: (N,), contiguous int64: the row of `gradient` of each sample.

    Returns:
        (N, ...).
    """
    out: Tensor = _Perturbed.apply(h, like(gradient, h), gpu.sent(r, h.device), labels)
    return out


class _Perturbed(torch.autograd.Function):
    """Eq. 4 by kernels; its backward pass is the identity."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, g: Tensor, r: Tensor, labels: Tensor | None) -> Tensor:
        from surgeon.methods.adversarial_noise import kernels

        images, size, part, parts = _divided(h)
        peak, means, squares, factor = h.new_empty((4, images * parts), dtype=torch.float32).unbind()
        # A kernel takes a pointer there also where it reads nothing of it.
        index = h if labels is None else labels
        out = torch.empty_like(h)
        # Triton starts kernels on the current device, which need not be the tensor's.
        with torch.cuda.device_of(h):
            kernels.measured[(images, parts)](
                h, g, index, peak, means, squares, size, part, labels is not None, BLOCK
            )
            kernels.factors[(1,)](
                peak, means, squares, r, factor, images, size, part, parts, len(r) == 1, 1024, _power(parts)
            )
            kernels.perturbed[(images * -(-size // BLOCK),)](
                h, g, index, factor, out, size, labels is not None, BLOCK
            )
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return gradient, None, None, None


def remember(cache: Tensor, gradient: Tensor, labels: Tensor, speaking: Tensor) -> None:
    """Write the rows of a gradient that are to be cached into the cache, divided by ‖g‖∞ if it is in float16.

    Args:
        cache: (classes, ...), written in place.
        gradient: (N, ...), brought into the memory layout of the cache.
        labels: (N,).
        speaking: (classes,), from `speakers`.
    """
    from surgeon.methods.adversarial_noise import kernels

    gradient = like(gradient, cache)
    images, size, part, parts = _divided(gradient)
    scaled = is_scaled(cache.dtype)
    peak = cache.new_empty(images * parts, dtype=torch.float32)
    # As for `_Perturbed`: the current device may be another one.
    with torch.cuda.device_of(cache):
        if scaled:
            kernels.peaks[(images, parts)](gradient, labels, speaking, peak, size, part, BLOCK)
        kernels.remembered[(images * -(-size // BLOCK),)](
            cache, gradient, labels, speaking, peak, size, parts, scaled, _power(parts), BLOCK
        )


def _divided(h: Tensor) -> tuple[int, int, int, int]:
    """Return samples, numbers per sample, numbers per part, and parts: a few thousand programs."""
    images, size = len(h), h.numel() // len(h)
    parts = max(1, min(PARTS, -(-4096 // images), -(-size // BLOCK)))
    part = -(-size // (parts * BLOCK)) * BLOCK
    return images, size, part, -(-size // part)


def _power(n: int) -> int:
    """Return the next power of two."""
    return 1 << (n - 1).bit_length()
