"""The adversarial noise of eq. 4 on a GPU: few kernels over the activations, each pass made once.

Phases, random numbers and the cache are the layers', `anl.py` and `canl.py`. Computed here are eq. 4 and what is written into CANL's
cache, where s(h) is that of one process's batch alone. Everything else goes the way of `maths.py` and `class_cache.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.methods.adversarial_noise.class_cache import is_scaled
from surgeon.tensors import gpu

BLOCK = 2048
"""Numbers that a program takes at once."""
PARTS = 64
"""Most parts of a row, each a program's."""


def takes(h: Tensor, cache: Tensor | None = None) -> bool:
    """Whether the noise on `h` (N, ...) is computed here: rows of numbers that lie side by side, in at most 32 bits."""
    return h.numel() > 0 and gpu.takes(h) and _in_rows(h) and (cache is None or gpu.takes(cache))


def perturbed(h: Tensor, gradient: Tensor, r: Tensor, labels: Tensor | None = None) -> Tensor:
    """h + r s(h) g/||g||_inf, eq. 4: (N, ...).

    gradient: of the shape of `h`, or (classes, ...) of which `labels` (N,), contiguous int64, says which is whose. r: (N,) or (1,), on any device. A row that is zero, or not finite, gives no noise. The gradient goes through unchanged.
    """
    out: Tensor = _Perturbed.apply(h, _like(gradient, h), gpu.sent(r, h.device), labels)
    return out


class _Perturbed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, g: Tensor, r: Tensor, labels: Tensor | None) -> Tensor:
        from surgeon.methods.adversarial_noise import kernels

        images, size, part, parts = _divided(h)
        found, means, squares, factor = h.new_empty((4, images * parts), dtype=torch.float32).unbind()
        index = h if labels is None else labels
        out = torch.empty_like(h)
        with torch.cuda.device_of(h):
            kernels.measured[(images, parts)](
                h, g, index, found, means, squares, size, part, labels is not None, BLOCK
            )
            kernels.factors[(1,)](
                found, means, squares, r, factor, images, size, part, parts, len(r) == 1, 1024, _power(parts)
            )
            kernels.perturbed[(images * -(-size // BLOCK),)](
                h, g, index, factor, out, size, labels is not None, BLOCK
            )
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return gradient, None, None, None


def remember(cache: Tensor, gradient: Tensor, labels: Tensor, speaking: Tensor) -> None:
    """Write into `cache` (classes, ...) the rows of `gradient` (N, ...) that speak for their class, `speaking` (classes,), by the peak where the
    cache is in float16. `cache` lies as the gradient's samples do, or they are laid so."""
    from surgeon.methods.adversarial_noise import kernels

    gradient = _like(gradient, cache)
    images, size, part, parts = _divided(gradient)
    scaled = is_scaled(cache.dtype)
    found = cache.new_empty(images * parts, dtype=torch.float32)
    with torch.cuda.device_of(cache):
        if scaled:
            kernels.peaks[(images, parts)](gradient, labels, speaking, found, size, part, BLOCK)
        kernels.remembered[(images * -(-size // BLOCK),)](
            cache, gradient, labels, speaking, found, size, parts, scaled, _power(parts), BLOCK
        )


def _in_rows(h: Tensor) -> bool:
    return h.is_contiguous() or (h.dim() == 4 and h.is_contiguous(memory_format=torch.channels_last))


def format_of(h: Tensor) -> torch.memory_format:
    """How it lies."""
    return torch.contiguous_format if h.is_contiguous() else torch.channels_last


def _like(gradient: Tensor, h: Tensor) -> Tensor:
    """`gradient` with the order of numbers in memory of `h`, on its device."""
    return gradient.detach().to(h.device).contiguous(memory_format=format_of(h))


def _divided(h: Tensor) -> tuple[int, int, int, int]:
    """Samples, numbers of each, numbers of a part, parts: a few thousand programs, none with less than a block."""
    images, size = len(h), h.numel() // len(h)
    parts = max(1, min(PARTS, -(-4096 // images), -(-size // BLOCK)))
    part = -(-size // (parts * BLOCK)) * BLOCK
    return images, size, part, -(-size // part)


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()
