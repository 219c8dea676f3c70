"""The filter of anti-aliased downsampling, and its product with a kernel (arXiv 1904.11486)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from types import EllipsisType

import torch
from torch import Tensor


def blur_filter(sizes: Sequence[int]) -> Tensor:
    """Return the binomial filter with the given number of weights along each axis.

    Args:
        sizes: m of each axis; 1 leaves the axis as it is.

    Returns:
        (2 ⌊m / 2⌋ + 1, ...) float64, of sum 1. An even m begins with a 0, so that every filter has a centre; as in the
        authors' code, one weight more lies to the right of it than to the left.

    Examples:
        >>> blur_filter([3]), blur_filter([2])
        (tensor([0.2500, 0.5000, 0.2500], dtype=torch.float64), tensor([0.0000, 0.5000, 0.5000], dtype=torch.float64))
    """
    blur = torch.ones((), dtype=torch.float64)
    for size in sizes:
        row = [math.comb(size - 1, i) / 2 ** (size - 1) for i in range(size)]
        blur = blur.unsqueeze(-1) * torch.tensor([0.0] * (size % 2 == 0) + row, dtype=torch.float64)
    return blur


def with_blur(weight: Tensor, blur: Tensor, dilation: Sequence[int]) -> Tensor:
    """Return the kernels of the convolution that equals a blur and then a convolution.

    Args:
        weight: W, (C_out, C_in, *k), the kernels of the convolution.
        blur: a, (*m), the filter.
        dilation: The convolution's dilation d along each axis.

    Returns:
        W', (C_out, C_in, d (k − 1) + m along each axis), for dilation 1.

    Examples:
        >>> with_blur(torch.ones(1, 1, 2), blur_filter([3]), [2]).flatten()
        tensor([0.2500, 0.5000, 0.5000, 0.5000, 0.2500])
    """
    kernel = weight.shape[2:]
    spread = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    spread_weight = weight.new_zeros(
        *weight.shape[:2], *[n + m - 1 for n, m in zip(spread, blur.shape, strict=True)]
    )
    for place in itertools.product(*(range(n) for n in blur.shape)):
        steps = [slice(p, p + n, d) for p, n, d in zip(place, spread, dilation, strict=True)]
        there: tuple[EllipsisType | slice, ...] = (..., *steps)
        spread_weight[there] += weight * blur[place].to(weight)
    return spread_weight
