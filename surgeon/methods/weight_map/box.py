"""A fixed filter of ones on each channel, by average pooling, which is faster than a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surgeon.tensors.recording import recording

Pair = tuple[int, int]


def box(
    m: Tensor,
    kernel: Pair,
    stride: Pair,
    pads: tuple[Pair, Pair],
    dilation: Pair,
    divisor: int,
    negative: bool,
) -> Tensor:
    """Apply the filter of 1/divisor to each channel, with zeros around.

    Args:
        m: (N, C, H, W).
        kernel: (height, width) of the window.
        stride: Stride along each side.
        pads: Zeros (before, after) each side.
        dilation: Dilation along each side.
        divisor: The divisor; 1 sums.
        negative: Apply −1/divisor instead.

    Returns:
        (N, C, H_out, W_out).
    """
    if negative and recording():  # export formats have no negative divisor
        return -box(m, kernel, stride, pads, dilation, divisor, negative=False)
    divisor = -divisor if negative else divisor
    even = all(before == after for before, after in pads)
    if dilation == (1, 1) and even and not recording():  # nor a divisor that ignores padding
        return _padded(m, kernel, stride, (pads[0][0], pads[1][0]), divisor)
    if pads != ((0, 0), (0, 0)):
        m = F.pad(m, (*pads[1], *pads[0]))
    # torch's translations into ONNX pass over a divisor that is not the window's size
    if dilation == (1, 1) and recording():
        return (F.avg_pool2d(m, kernel, stride) * (kernel[0] * kernel[1] / divisor)).to(m.dtype)
    if dilation == (1, 1):
        return F.avg_pool2d(m, kernel, stride, divisor_override=divisor).to(m.dtype)
    weight = m.new_full((1, 1, *kernel), 1 / divisor)
    out = F.conv2d(m.reshape(-1, 1, *m.shape[2:]), weight, stride=stride, dilation=dilation)
    return out.view(*m.shape[:2], *out.shape[2:])


def _padded(m: Tensor, kernel: Pair, stride: Pair, pads: Pair, divisor: int) -> Tensor:
    """Apply the filter with equal padding on both sides."""
    if stride == (1, 1):
        return _Box.apply(m, _Window(kernel, pads, divisor))
    return _pooled(m, kernel, stride, pads, divisor)


def _pooled(m: Tensor, kernel: Pair, stride: Pair, pads: Pair, divisor: int) -> Tensor:
    """Apply the filter by average pooling."""
    if not all(
        0 <= p <= k // 2 for p, k in zip(pads, kernel, strict=True)
    ):  # average pooling accepts no larger padding
        m, pads = F.pad(m, (pads[1], pads[1], pads[0], pads[0])), (0, 0)
    return F.avg_pool2d(m, kernel, stride, pads, divisor_override=divisor).to(m.dtype)


@dataclass(frozen=True, slots=True)
class _Window:
    """The window of a filter with stride 1, as one object: torch.func would count the entries of a tuple."""

    kernel: Pair
    pads: Pair
    divisor: int

    @property
    def adjoint(self) -> _Window:
        """The window that gradients go through."""
        high, wide = (k - 1 - p for k, p in zip(self.kernel, self.pads, strict=True))
        return _Window(self.kernel, (high, wide), self.divisor)


class _Box(torch.autograd.Function):
    """The filter with stride 1, whose gradient is the same filter; torch's own backward pass is slower."""

    generate_vmap_rule = True

    @staticmethod
    def forward(m: Tensor, window: _Window) -> Tensor:
        return _pooled(m, window.kernel, (1, 1), window.pads, window.divisor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _Window], output: Tensor) -> None:
        ctx.window = inputs[1]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, window: None) -> Tensor:
        return _Box.apply(tangent, ctx.window)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Box.apply(gradient, ctx.window.adjoint), None
