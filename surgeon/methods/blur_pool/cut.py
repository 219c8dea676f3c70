"""The modules that stand at a blurred site, and the one convolution that equals a blur and a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from surgeon.methods.blur_pool.maths import with_blur
from surgeon.methods.blur_pool.module import Blur
from surgeon.tensors.convolution import effective_weight, with_weight
from surgeon.tensors.own_copy import own_copy


def blurred_convolution(conv: Any, sizes: Sequence[int]) -> tuple[nn.Module, Blur]:
    """Return a copy of a convolution that pads nothing, and the blur in front of it, which pads for both.

    Args:
        conv: The convolution.
        sizes: Number of the filter's weights along each axis.

    Returns:
        The convolution, with tensors of its own, and the blur.
    """
    given = (0,) * len(sizes) if conv.padding == "valid" else conv.padding
    padding = tuple(p + m // 2 for p, m in zip(given, sizes, strict=True))
    bare = own_copy(conv)
    _pad(bare, (0,) * len(sizes))
    return bare, Blur(sizes, (1,) * len(sizes), padding, conv.padding_mode)


def blurred_pooling(pool: Any, sizes: Sequence[int], stride: Sequence[int]) -> tuple[nn.Module, Blur]:
    """Return a max pooling of stride 1, and the blur behind it, which takes the steps.

    Args:
        pool: The max pooling.
        sizes: Number of the filter's weights along each axis.
        stride: The pooling's stride along each axis.

    Returns:
        The pooling and the blur.
    """
    axes = len(sizes)
    kernel, padding, dilation = (
        tuple(v) if isinstance(v, (tuple, list)) else (v,) * axes
        for v in (pool.kernel_size, pool.padding, pool.dilation)
    )
    dense: Any = own_copy(pool)
    dense.stride, dense.ceil_mode = 1, False
    beyond = [d * (k - 1) - p for k, p, d in zip(kernel, padding, dilation, strict=True)]
    return dense, Blur(sizes, stride, mode="replicate", ceil=beyond if pool.ceil_mode else None)


def folded(conv: Any, layer: Blur) -> nn.Module:
    """Merge a blur into the convolution behind it.

    Args:
        conv: The convolution, which pads nothing.
        layer: The blur, whose filter may have been exchanged.

    Returns:
        A new convolution with larger kernels.
    """
    weight = with_blur(effective_weight(conv).double(), layer.filter.double(), conv.dilation)
    bias = None if conv.bias is None else conv.bias.detach()
    new: Any = with_weight(conv, weight.to(conv.weight.dtype), bias)
    new.kernel_size, new.dilation = tuple(weight.shape[2:]), (1,) * len(layer.sizes)
    _pad(new, layer.padding)
    return new


def _pad(conv: Any, padding: tuple[int, ...]) -> None:
    """Give a convolution another padding."""
    conv.padding = padding
    conv._reversed_padding_repeated_twice = [p for p in reversed(padding) for _ in range(2)]
