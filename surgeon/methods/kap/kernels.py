"""Windows with other weights than an average's: Gaussian, Mexican hat, and learned.

The matrix of a pooling has a row for each pooled channel. With d the distance on the sheet from the window's centre and
w a weight for each place of the window, row i is w over the channels in the window around i, divided by their sum, so
that padding has no weight and constant channels stay:

    average       w = 1
    gaussian      w = exp(−d² / 2 s²)
    learned       w = exp(θ), θ a number for each place of the window; it starts at 0, which is the average
    mexican-hat   twice the row of a Gaussian of s, minus that of 2 s: near channels add, far ones take away

Here: the paper has the average alone. All of them are linear, and fold.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.methods.kap.sheet import Sheet, pooled_sheet, window

KERNELS = ("average", "gaussian", "mexican-hat", "learned")


def window_places(sheet: Sheet, kernel_size: int, stride: int = 1, dims: int = 2) -> Tensor:
    """Return the place of each channel in the window of each pooled channel.

    Args:
        sheet: (rows, columns).
        kernel_size: Side K of the window.
        stride: Stride on the sheet.
        dims: 1 or 2.

    Returns:
        (C', C) int64: the place, row by row in the window; −1 outside of it.

    Examples:
        >>> window_places((1, 3), 3, dims=1).tolist()
        [[1, 2, -1], [0, 1, 2], [-1, 0, 1]]
    """
    sizes = window(sheet, kernel_size)
    rows, cols = (
        torch.arange(side, device="cpu")
        - stride * torch.arange(pooled, device="cpu").unsqueeze(1)
        + size // 2
        for side, pooled, size in zip(
            sheet, pooled_sheet(sheet, kernel_size, stride, dims), sizes, strict=True
        )
    )
    down, across = rows[:, None, :, None], cols[None, :, None, :]
    inside = (down >= 0) & (down < sizes[0]) & (across >= 0) & (across < sizes[1])
    place = torch.where(inside, down * sizes[1] + across, -1)
    return place.reshape(rows.shape[0] * cols.shape[0], -1)


def gaussian(sizes: Sheet, sigma: float) -> Tensor:
    """Return exp(−d² / 2 s²) for each place of a window.

    Args:
        sizes: The window's (rows, columns).
        sigma: s, in channels.

    Returns:
        (rows · columns,) float64.
    """
    rows, cols = (torch.arange(n, dtype=torch.float64, device="cpu") - n // 2 for n in sizes)
    squares = rows.square().unsqueeze(1) + cols.square()
    return torch.exp(-squares / (2 * sigma**2)).flatten()


def weighted_matrix(places: Tensor, weights: Tensor) -> Tensor:
    """Return the matrix of a pooling with weights.

    Args:
        places: (C', C), as from `window_places`.
        weights: w, for each place of the window; gradients flow to them.

    Returns:
        (C', C) in the dtype of `weights`; rows sum to 1.
    """
    rows = torch.where(places >= 0, weights[places.clamp_min(0)], 0)
    return rows / rows.sum(1, keepdim=True)


def fixed_matrix(kernel: str, places: Tensor, sizes: Sheet, sigma: float) -> Tensor:
    """Return the matrix of a Gaussian or Mexican-hat pooling.

    Args:
        kernel: "gaussian" or "mexican-hat".
        places: (C', C), as from `window_places`.
        sizes: The window's (rows, columns).
        sigma: s, in channels.

    Returns:
        (C', C) float64; rows sum to 1.
    """
    near = weighted_matrix(places, gaussian(sizes, sigma))
    return near if kernel == "gaussian" else 2 * near - weighted_matrix(places, gaussian(sizes, 2 * sigma))
