"""Activations with their positions first: (H·W, N, C), where a product per position is one batched matrix product.

Turning them there and back are two transpositions, for which torch has a fast path on a CPU that its autograd does not take.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_places(x: Tensor) -> Tensor:
    """(N, C, H, W) → (H·W, N, C). A view where `x` lies in channels_last."""
    n, channels, height, width = x.shape
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return x.permute(2, 3, 0, 1).reshape(height * width, n, channels)
    return turned(x.reshape(n * channels, height * width)).view(height * width, n, channels)


def from_places(places: Tensor, height: int, width: int, memory_format: torch.memory_format) -> Tensor:
    """(H·W, N, C) → (N, C, H, W) in this memory format."""
    _, n, channels = places.shape
    if memory_format == torch.channels_last:
        image = places.view(height, width, n, channels).permute(2, 3, 0, 1)
        return image.contiguous(memory_format=memory_format)
    return turned(places.reshape(height * width, n * channels)).view(n, channels, height, width)


def weight_places(weight: Tensor) -> Tensor:
    """(C_out, C_in, H, W) → (H·W, C_out, C_in). A view where the weight lies so in memory, see `laid`."""
    c_out, c_in, height, width = weight.shape
    if weight.is_contiguous():
        flat = turned(weight.view(c_out * c_in, height * width))
        return flat.view(height * width, c_out, c_in)
    return weight.permute(2, 3, 0, 1).reshape(height * width, c_out, c_in)


def laid(weight: Tensor) -> Tensor:
    """The same weight with its positions first in memory; its shape stays (C_out, C_in, H, W)."""
    return weight.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)


def turned(flat: Tensor) -> Tensor:
    """The transpose of a matrix, contiguous."""
    if flat.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return flat.t().contiguous()
    return _Turned.apply(flat)


class _Turned(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(flat: Tensor) -> Tensor:
        return flat.t().contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _Turned.apply(gradient.contiguous())
