"""The adversarial noise of eq. 4 on a GPU: few kernels over the activations, each pass made once.

Drawing, phases and the cache are the layer's, `adversarial_layer.py`; what is computed here is its `_anl`, `_canl` and the writing of
CANL's cache, for the standard deviation of one process's batch. Everything else goes the way of `adversarial_noise.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.layers import gpu

BLOCK = 2048
"""Numbers that a program takes at once."""
PARTS = 64
"""Most parts of a row, each a program's."""


def takes(h: Tensor) -> bool:
    """Whether the noise on `h` (N, ...) is computed here: rows of numbers that lie side by side, in at most 32 bits."""
    return h.numel() > 0 and gpu.takes(h) and _in_rows(h)


def perturbed(h: Tensor, gradient: Tensor, r: Tensor, labels: Tensor | None = None) -> Tensor:
    """h + r s(h) g/||g||_inf, eq. 4: (N, ...), `gradient` of its shape, or (classes, ...) of which `labels` (N,) says which is whose.

    r: (N,) or (1,), on any device. A row that is zero, or not finite, gives no noise. The gradient goes through unchanged.
    """
    out: Tensor = _Perturbed.apply(h, _like(gradient, h), gpu.sent(r, h.device), labels)
    return out


class _Perturbed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, g: Tensor, r: Tensor, labels: Tensor | None) -> Tensor:
        from surgeon.layers import adversarial_kernels as kernels

        images, size, part, parts = _divided(h)
        by_class = labels is not None and len(g) <= images  # peaks of classes, else of samples
        rows = len(g) if by_class else images
        room = h.new_empty((rows + 2 * images) * parts + images, dtype=torch.float32)
        found, means, squares, factor = room.split([rows * parts, images * parts, images * parts, images])
        index = labels if labels is not None else h
        gathered = labels is not None and not by_class
        out = torch.empty_like(h)
        with torch.cuda.device_of(h):
            kernels.peaks[(rows, parts)](g, index, h, found, size, part, gathered, False, BLOCK)
            kernels.moments[(images, parts)](h, means, squares, size, part, BLOCK)
            kernels.factors[(1,)](
                found, means, squares, r, factor, images, rows, size, part, parts, len(r) == 1, index, 1024, _power(parts), by_class,
            )  # fmt: skip
            kernels.perturbed[(images, -(-size // BLOCK))](
                h, g, index, factor, out, size, labels is not None, BLOCK
            )
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]  # of one output
        return gradient, None, None, None


def remember(cache: Tensor, gradient: Tensor, labels: Tensor, rank: Tensor) -> None:
    """Write into `cache` (classes, ...) the row of `gradient` (N, ...) of the highest `rank` (N,) of each class, by its peak where the
    cache has less than 32 bits. `cache` lies as `gradient` does."""
    from surgeon.layers import adversarial_kernels as kernels

    gradient = _like(gradient, cache)
    images, size, part, parts = _divided(gradient)
    scaled = cache.dtype.itemsize < 4
    chosen = labels.new_empty(images, dtype=torch.int32)
    found = cache.new_empty(images * parts, dtype=torch.float32)
    with torch.cuda.device_of(cache):
        kernels.winners[(images,)](labels, rank, chosen, images, 1024)
        if scaled:
            kernels.peaks[(images, parts)](gradient, labels, chosen, found, size, part, False, True, BLOCK)
        kernels.remembered[(images, -(-size // BLOCK))](
            cache, gradient, labels, chosen, found, size, parts, scaled, _power(parts), BLOCK
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
