"""The module that takes the place of a max pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from surgeon.errors import LayerError
from surgeon.methods.soft_pool.maths import mean_kernels

_AVERAGES = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def average(pool: Any, dims: int) -> nn.Module:
    """Return torch's average pooling of the window of a max pooling; padding counts as zeros.

    Args:
        pool: The max pooling.
        dims: Number of its spatial axes.

    Returns:
        The average pooling.

    Raises:
        LayerError: The window is dilated.
    """
    if any(d != 1 for d in _each(pool.dilation, dims)):
        raise LayerError(
            f"the window has dilation={pool.dilation}, which no average pooling of torch's has; 'depthwise' has it"
        )
    return _AVERAGES[dims](pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


def convolution(pool: Any, channels: int, kernel: tuple[int, ...], *, mixed: bool) -> nn.Module:
    """Return a convolution of the window and stride of a max pooling, whose kernels average.

    Args:
        pool: The max pooling.
        channels: Number of channels.
        kernel: The window along each axis.
        mixed: Whether it sees all channels, and not each by itself.

    Returns:
        The convolution in float64, with biases of 0: it gets the precision of the network where it is put.
    """
    kind: Any = _CONVOLUTIONS[len(kernel)]
    conv = kind(
        channels, channels, kernel, pool.stride, pool.padding, pool.dilation, 1 if mixed else channels
    ).double()
    with torch.no_grad():
        conv.weight.copy_(mean_kernels(channels, kernel, mixed=mixed))
        conv.bias.zero_()
    return conv


def _each(value: Any, dims: int) -> tuple[int, ...]:
    """Return one value for each axis."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims
