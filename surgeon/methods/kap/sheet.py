"""The sheet of channels: where each channel lies, which windows cover it, and the matrix that averages them.

Kernel Average Pooling (Bashivan et al., "Learning Robust Kernel Ensembles with Kernel Average Pooling") lays
the channels of a layer on a line (eq. 2) or on a two-dimensional sheet (appendix A.1, Algorithm 1) and takes
means over windows of that sheet, never over space. This file is the geometry; `maths.py` applies it to
activations.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from surgeon.errors import LayerError

Sheet = tuple[int, int]
Divisor = Literal["channels", "window"]
"""By what the sum over a window is divided: the channels that it covers, or its size."""


def sheet_shape(channels: int, dims: int = 2) -> Sheet:
    """Return the (rows, columns) on which channels lie, filled row by row.

    Args:
        channels: Number of channels.
        dims: 2: the factor pair of `channels` closest to a square, rows ≤ columns (Algorithm 1; 64 → 8×8, a
            prime C → 1×C). 1: (1, C), the line of eq. 2.

    Returns:
        (rows, columns).

    Raises:
        LayerError: channels is below 1, or dims is neither 1 nor 2.

    Examples:
        >>> sheet_shape(64), sheet_shape(12), sheet_shape(7), sheet_shape(12, dims=1)
        ((8, 8), (3, 4), (1, 7), (1, 12))
    """
    if not _is_int(channels) or channels < 1:
        raise LayerError(f"channels={channels!r} has no sheet; it must be an integer of at least 1")
    if dims not in (1, 2):
        raise LayerError(f"dims={dims!r} is not a sheet; 1 (a line) and 2 (rows x columns) are")
    if dims == 1:
        return 1, channels
    rows = next(r for r in range(math.isqrt(channels), 0, -1) if channels % r == 0)
    return rows, channels // rows


def widened_sheet(channels: int, stride: int, dims: int = 2) -> Sheet:
    """Return the sheet of a widened convolution whose pooling with `stride` gives back `channels` channels.

    Here: the sides are scaled, although the closest factor pair of S² C may be another one (S = 3: 8 channels
    2×4 → 6×12, not 8×9, which would pool to 9).

    Args:
        channels: Number of channels after pooling, C.
        stride: The stride S.
        dims: 2: each side times S (S² C channels). 1: (1, S C).

    Returns:
        (rows, columns).

    Raises:
        LayerError: stride is not an integer of at least 1, or as for `sheet_shape`.

    Examples:
        >>> widened_sheet(8, 3)
        (6, 12)
    """
    rows, cols = sheet_shape(channels, dims)
    if not _is_int(stride) or stride < 1:
        raise LayerError(f"stride={stride!r} must be an integer of at least 1")
    return (rows * stride if dims == 2 else 1), cols * stride


def resolve_sheet(channels: int, dims: int = 2, sheet: Sheet | None = None) -> Sheet:
    """Check a sheet against the number of channels, or return the default one.

    Args:
        channels: Number of channels.
        dims: 1 or 2.
        sheet: (rows, columns), or None for the default.

    Returns:
        (rows, columns).

    Raises:
        LayerError: The sheet does not hold exactly these channels.
    """
    if sheet is None or dims not in (1, 2) or not _is_int(channels) or channels < 1:
        return sheet_shape(channels, dims)
    # The default is looked for in messages alone: a compiler that takes sizes as symbols cannot record the search.
    sheet = tuple(sheet)  # type: ignore[assignment]  # its length is checked next
    if len(sheet) != 2 or not all(_is_int(side) and side >= 1 for side in sheet):
        raise LayerError(f"sheet={sheet!r} must be two positive integers (rows, columns)")
    if sheet[0] * sheet[1] != channels:
        fits = _show(sheet_shape(channels, dims))
        raise LayerError(
            f"sheet {_show(sheet)} has {sheet[0] * sheet[1]} places for {channels} channels; {fits} fits"
        )
    if dims == 1 and sheet[0] != 1:
        raise LayerError(
            f"sheet {_show(sheet)} is two-dimensional but dims=1; {_show(sheet_shape(channels, dims))} fits"
        )
    return sheet


def largest_kernel(sheet: Sheet, dims: int = 2) -> int:
    """Return the largest odd window that fits a sheet: its short side, or its length if it is a single line.

    Here: a side of one channel is not pooled along, so a 1×C sheet (1-D, or a prime C) is limited by C.

    Args:
        sheet: (rows, columns).
        dims: 1 or 2.

    Returns:
        The side of the window.

    Examples:
        >>> largest_kernel((8, 8)), largest_kernel((1, 12))
        (7, 11)
    """
    limit = max(sheet) if dims == 1 or min(sheet) == 1 else min(sheet)
    return limit if limit % 2 else limit - 1


def pooled_sheet(
    sheet: Sheet, kernel_size: int, stride: int = 1, dims: int = 2, *, even: bool = False
) -> Sheet:
    """Return the sheet after pooling: each side becomes ceil(side / stride), since the padding is K − 1 in all.

    Here: a single channel accepts every odd K, since its window is cut to that channel (the identity).

    Args:
        sheet: (rows, columns).
        kernel_size: Side K of the window.
        stride: Stride on the sheet.
        dims: 1 or 2.
        even: Allow an even K, whose windows have one channel more behind the centre than before it.

    Returns:
        (rows, columns).

    Raises:
        LayerError: `kernel_size` is even without `even`, not positive, or too large for the sheet; or stride is
            below 1.

    Examples:
        >>> pooled_sheet((8, 8), 3, stride=2)
        (4, 4)
    """
    channels = sheet[0] * sheet[1]
    if not _is_int(kernel_size) or kernel_size < 1 or (kernel_size % 2 == 0 and not even):
        near = (
            f"; {kernel_size - 1} or {kernel_size + 1} would do"
            if _is_int(kernel_size) and kernel_size > 1
            else ""
        )
        raise LayerError(
            f"kernel_size={kernel_size!r} must be odd and positive, so that a window has a centre{near}; "
            "'even' allows windows without one"
        )
    if not _is_int(stride) or stride < 1:
        raise LayerError(f"stride={stride!r} must be an integer of at least 1")
    largest = largest_kernel(sheet, dims)
    if even:
        largest = max(sheet) if dims == 1 or min(sheet) == 1 else min(sheet)
    if kernel_size > largest and channels > 1:
        raise LayerError(
            f"kernel_size={kernel_size} exceeds the {_show(sheet)} sheet of {channels} channels; "
            f"largest {'' if even else 'odd '}size is {largest}"
        )
    return -(-sheet[0] // stride), -(-sheet[1] // stride)


def window(sheet: Sheet, kernel_size: int) -> Sheet:
    """Return the window's (rows, columns): K along each side longer than one channel, otherwise 1.

    Args:
        sheet: (rows, columns).
        kernel_size: Side K of the window.

    Returns:
        (rows, columns).
    """
    return (kernel_size if sheet[0] > 1 else 1), (kernel_size if sheet[1] > 1 else 1)


def pooling_matrix(
    channels: int,
    kernel_size: int,
    stride: int = 1,
    dims: int = 2,
    *,
    sheet: Sheet | None = None,
    even: bool = False,
    divisor: Divisor = "channels",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the matrix A of mean pooling along the channels: KAP(z) = A z (eq. 2, 3; Algorithm 1).

    Each row averages one window: equal weights over the channels that it covers, zero elsewhere. The window
    is padded by (K − 1)/2 with zero *weight*: the divisor counts real channels only, so rows sum to one (those at
    the border to less with divisor "window"). The
    mean over a rectangle is the mean of means, hence A = A_rows ⊗ A_columns, a Kronecker product.

    Args:
        channels: Number of input channels, C_in.
        kernel_size: Side K of the window.
        stride: Stride on the sheet.
        dims: 1 or 2.
        sheet: (rows, columns). Default: `sheet_shape(channels, dims)`.
        even: Allow an even K, whose windows have one channel more behind the centre than before it.
        divisor: "channels" counts the real channels of a window (Algorithm 1: padding has zero weight); "window" is
            the window's size at the border too, as eq. 2 and 10 have it (1/K, 1/K²).
        dtype: Data type of the matrix.
        device: Device of the matrix. Default: the CPU.

    Returns:
        (C_out, C_in).

    Raises:
        LayerError: As for `pooled_sheet` and `resolve_sheet`.

    Examples:
        >>> pooling_matrix(3, 3, dims=1)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.3333, 0.3333, 0.3333],
                [0.0000, 0.5000, 0.5000]], dtype=torch.float64)
    """
    return torch.kron(
        *side_matrices(channels, kernel_size, stride, dims, sheet=sheet, even=even, divisor=divisor)
    ).to(dtype=dtype, device=device)


def side_matrices(
    channels: int,
    kernel_size: int,
    stride: int = 1,
    dims: int = 2,
    *,
    sheet: Sheet | None = None,
    even: bool = False,
    divisor: Divisor = "channels",
) -> tuple[Tensor, Tensor]:
    """Return the two factors of `pooling_matrix`: A = A_rows ⊗ A_columns.

    Multiplying by one factor after the other costs C (rows + columns) per column, instead of C².

    Args:
        channels: Number of input channels.
        kernel_size: Side K of the window.
        stride: Stride on the sheet.
        dims: 1 or 2.
        sheet: (rows, columns). Default: `sheet_shape(channels, dims)`.
        even: Allow an even K, whose windows have one channel more behind the centre than before it.
        divisor: "channels" counts the real channels of a window (Algorithm 1: padding has zero weight); "window" is
            the window's size at the border too, as eq. 2 and 10 have it (1/K, 1/K²).

    Returns:
        A_rows and A_columns, each (pooled side, side), float64.

    Raises:
        LayerError: As for `pooled_sheet` and `resolve_sheet`.
    """
    sheet = resolve_sheet(channels, dims, sheet)
    pooled = pooled_sheet(sheet, kernel_size, stride, dims, even=even)
    rows, cols = (
        _side_matrix(*of, stride, divisor)
        for of in zip(sheet, pooled, window(sheet, kernel_size), strict=True)
    )
    return rows, cols


def _side_matrix(length: int, pooled: int, size: int, stride: int, divisor: Divisor) -> Tensor:
    """Return (pooled, length): row i averages `size` channels, from (size − 1)//2 before channel i · stride on."""
    centre = torch.arange(pooled, device="cpu").unsqueeze(1) * stride
    place = torch.arange(length, device="cpu") - centre + (size - 1) // 2
    covered = ((place >= 0) & (place < size)).double()
    return covered / (size if divisor == "window" else covered.sum(1, keepdim=True))


def _show(sheet: Sheet) -> str:
    """Write a sheet as rows x columns."""
    return f"{sheet[0]}x{sheet[1]}"


def _is_int(value: object) -> bool:
    """Say whether a value is an integer, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)
