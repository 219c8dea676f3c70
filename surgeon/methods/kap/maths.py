"""Kernel Average Pooling on activations (Bashivan et al., eq. 2 and Algorithm 1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.kap import cpu
from surgeon.methods.kap.sheet import Divisor, Sheet, pooled_sheet, resolve_sheet, window
from surgeon.tensors.memory_format import lying, memory_format_of
from surgeon.tensors.recording import exporting

POOLS = ("mean", "max")
_FEW = 8
"""With fewer positions than this, those of the whole batch are pooled together, to fill vector registers."""


def kernel_average_pool(
    x: Tensor,
    kernel_size: int,
    stride: int = 1,
    dims: int = 2,
    *,
    pool: str = "mean",
    sheet: Sheet | None = None,
    even: bool = False,
    divisor: Divisor = "channels",
) -> Tensor:
    """Average the channels of `x` over a window of their sheet, at every position (eq. 2; Algorithm 1).

    Padding has zero weight, unless the divisor is the window's size.

    Args:
        x: (N, C, *spatial) with any number of spatial axes.
        kernel_size: Side K of the window; odd, unless `even`.
        stride: Stride on the sheet.
        dims: 2 for a sheet, 1 for a line of channels.
        pool: "mean" (KAP) or "max" (Kernel Max Pooling, the paper's control).
        sheet: (rows, columns). Default: the closest factors of C.
        even: Allow an even K, whose windows have one channel more behind the centre than before it.
        divisor: "channels" counts the real channels of a window (Algorithm 1: padding has zero weight); "window" is
            the window's size at the border too, as eq. 2 and 10 have it (1/K, 1/K²).

    Returns:
        (N, C', *spatial), C' the size of the pooled sheet, in the dtype and unit of `x`. channels_last stays
        so.

    Raises:
        LayerError: The settings do not fit the channels, the pool is unknown, or `x` has no channel axis.

    Examples:
        >>> import torch
        >>> x = torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1)
        >>> kernel_average_pool(x, 3, dims=1).flatten()
        tensor([1.5000, 3.0000, 4.0000])
    """
    if pool not in POOLS:
        raise LayerError(f"pool={pool!r} is not known; 'mean' (KAP) and 'max' (KMP) are")
    if x.dim() < 2:
        raise LayerError(f"kernel average pooling needs (N, C, ...) activations, got shape {tuple(x.shape)}")
    # Where code is recorded, sizes are tensors or symbols: the number of channels alone is a constant.
    channels, spatial = int(x.shape[1]), x.shape[2:]
    rows, cols = resolve_sheet(channels, dims, sheet)
    pooled = pooled_sheet((rows, cols), kernel_size, stride, dims, even=even)
    shape = (x.shape[0], pooled[0] * pooled[1], *spatial)
    # What is recorded for other sizes too must not branch on them.
    any_size = torch.jit.is_tracing() or exporting()
    if not any_size and 0 in spatial:
        return x.new_zeros(shape)

    if pool == "mean" and stride == 1 and cpu.takes(x):
        return cpu.pooled(x, cpu.Means((rows, cols), kernel_size, dims, divisor))

    # The sheet becomes the image of a spatial pooling and the positions its channels. In memory that is
    # (N, rows, cols, positions): channels_last, the pooling's fastest layout, and free for a contiguous x.
    # Where an image has few positions, those of the whole batch are taken together.
    size = window((rows, cols), kernel_size)
    positions = math.prod(spatial)  # `spatial.numel()` makes a constant of sizes that are symbols
    together = not any_size and x.shape[0] > 1 and positions < _FEW
    laid = x.contiguous().view(x.shape[0], rows, cols, positions)
    if together:
        laid = laid.permute(1, 2, 0, 3).reshape(1, rows, cols, x.shape[0] * positions)
    image = laid.permute(0, 3, 1, 2)
    image = _windows(image, size, stride, pool, divisor)
    out = image.permute(0, 2, 3, 1)
    if together:
        out = out.reshape(shape[1], shape[0], positions).transpose(0, 1).contiguous()
    out = out.reshape(shape).to(x.dtype)
    memory = memory_format_of(x)
    return out if memory == torch.contiguous_format else lying(out, memory)


def _windows(image: Tensor, size: Sheet, stride: int, pool: str, divisor: Divisor) -> Tensor:
    """Pool (N, positions, rows, cols) along its last two axes."""
    if size[0] % 2 and size[1] % 2:
        padding = (size[0] // 2, size[1] // 2)
        if pool == "max":
            return F.max_pool2d(image, size, stride, padding)
        return F.avg_pool2d(image, size, stride, padding, count_include_pad=divisor == "window")
    # A window without a centre has one channel more behind it than before: torch's poolings pad both sides alike.
    sides = [pad for n in reversed(size) for pad in ((n - 1) // 2, n // 2)]
    if pool == "max":
        return F.max_pool2d(F.pad(image, sides, value=float("-inf")), size, stride)
    means = F.avg_pool2d(F.pad(image, sides), size, stride)
    if divisor == "window":
        return means
    real = F.avg_pool2d(F.pad(image.new_ones(1, 1, *image.shape[2:]), sides), size, stride)
    return means / real
