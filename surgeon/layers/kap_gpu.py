"""Kernel average pooling on a GPU: one kernel in place of torch's pooling between two rearrangements; as they lie, weights too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.layers import gpu
from surgeon.layers.sheet import Sheet

BLOCK = 1024


def takes(x: Tensor) -> bool:
    """Whether `pooled` computes the means of `x` (N, C, ...): a channel's numbers lie together, however the rest does."""
    return x.numel() > 0 and gpu.takes(x) and _inner(x) is not None


def pooled(x: Tensor, sheet: Sheet, window: Sheet) -> Tensor:
    """eq. 2 with stride 1: `x` (N, C, ...) with C = rows · columns of the sheet; lies as `x` does."""
    out: Tensor = _Pooled.apply(x, sheet, window, False)
    return out


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sheet: Sheet, window: Sheet, adjoint: bool) -> Tensor:
        from surgeon.layers import kap_kernels as kernels

        ctx.of = (sheet, window, not adjoint)
        inner = _inner(x)
        if inner is None:  # a gradient may lie as it likes
            x = x.contiguous()
            inner = _inner(x)
        out = torch.empty_like(x)
        with torch.cuda.device_of(x):
            kernels.pooled[(-(-x.numel() // BLOCK),)](
                x, out, x.numel(), inner, *sheet, window[0] // 2, window[1] // 2, adjoint, BLOCK
            )
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]  # of one output
        return _Pooled.apply(gradient, *ctx.of), None, None, None


def _inner(x: Tensor) -> int | None:
    """Numbers of a channel that lie together, if all of memory is (any, C, inner); else None."""
    channels, inner = x.shape[1], x.stride(1)
    sides = sorted(
        (s, n) for d, (s, n) in enumerate(zip(x.stride(), x.shape, strict=True)) if d != 1 and n > 1
    )
    if channels == 1:
        return x.numel() if x.is_contiguous() else None
    expected = 1
    for stride, length in sides:
        if expected == inner:
            expected *= channels
        if stride != expected:
            return None
        expected *= length
    return inner if inner in (1, expected) or expected == x.numel() else None
