"""Kernels in place of a maximum: the average, and least squares from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from surgeon.tensors.least_squares import Equations


def mean_kernels(channels: int, kernel: Sequence[int], *, mixed: bool = False) -> Tensor:
    """Return the kernels of a convolution that averages over each channel's window.

    Args:
        channels: Number of channels C.
        kernel: Size of the window along each axis.
        mixed: Of a convolution that sees all channels, and not each by itself.

    Returns:
        (C, C, *kernel) if `mixed`, otherwise (C, 1, *kernel), in float64.

    Examples:
        >>> mean_kernels(1, [2, 2])
        tensor([[[[0.2500, 0.2500],
                  [0.2500, 0.2500]]]], dtype=torch.float64)
    """
    share = (torch.eye(channels) if mixed else torch.ones(channels, 1)).double()
    return (share / math.prod(kernel)).view(*share.shape, *[1] * len(kernel)).repeat(1, 1, *kernel)


def fitted_kernels(
    problem: Equations, kernels: Tensor, ridge: float, *, biased: bool
) -> tuple[Tensor, Tensor | None, float]:
    """Solve for kernels, with a ridge towards given ones.

    Args:
        problem: The normal equations, of one problem for each group of the convolution.
        kernels: (C, C_in / groups, *kernel), what the ridge pulls towards.
        ridge: The ridge, in units of the inputs' mean square.
        biased: Whether the last unknown is a bias.

    Returns:
        Kernels like the given ones, in float64; biases (C,), or None; and the relative error of the outputs.

    Examples:
        >>> windows = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
        >>> sums = windows.sum(1, keepdim=True)
        >>> gram, cross = windows.T @ windows / 3, sums.T @ windows / 3
        >>> problem = Equations(gram[None], cross[None], sums.square().mean())
        >>> kernels, bias, error = fitted_kernels(problem, mean_kernels(1, [2]), 1e-9, biased=False)
        >>> kernels.round(decimals=4).tolist(), bias
        ([[[1.0, 1.0]]], None)
    """
    groups, each, width = problem.cross.shape
    start = kernels.double().reshape(groups, each, -1)
    if biased:
        start = torch.cat([start, start.new_zeros(groups, each, 1)], 2)
    solved = problem.solve(ridge, start)
    flat = solved.reshape(groups * each, width)
    bias = flat[:, -1] if biased else None
    return flat[:, : width - biased].reshape(kernels.shape), bias, problem.error(solved)
