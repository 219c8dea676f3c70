"""Kernel Average Pooling on activations (Bashivan et al., eq. 2 and Algorithm 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.kap.sheet import Sheet, pooled_sheet, resolve_sheet, window
from surgeon.tensors.memory_format import lying, memory_format_of

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
) -> Tensor:
    """Average the channels of `x` over a window of their sheet, at every position (eq. 2; Algorithm 1).

    Padding has zero weight.

    Args:
        x: (N, C, *spatial) with any number of spatial axes.
        kernel_size: Side K of the window; odd.
        stride: Stride on the sheet.
        dims: 2 for a sheet, 1 for a line of channels.
        pool: "mean" (KAP) or "max" (Kernel Max Pooling, the paper's control).
        sheet: (rows, columns). Default: the closest factors of C.

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
    channels, spatial = x.shape[1], x.shape[2:]
    if torch.jit.is_tracing():  # sizes are tensors there; make all but the batch size constants
        channels, spatial = int(channels), torch.Size(int(side) for side in spatial)
    rows, cols = resolve_sheet(channels, dims, sheet)
    pooled = pooled_sheet((rows, cols), kernel_size, stride, dims)
    shape = (x.shape[0], pooled[0] * pooled[1], *spatial)
    if 0 in spatial:
        return x.new_zeros(shape)

    # The sheet becomes the image of a spatial pooling and the positions its channels. In memory that is
    # (N, rows, cols, positions): channels_last, the pooling's fastest layout, and free for a contiguous x.
    # Where an image has few positions, those of the whole batch are taken together.
    size = window((rows, cols), kernel_size)
    padding = (size[0] // 2, size[1] // 2)
    together = x.shape[0] > 1 and spatial.numel() < _FEW
    laid = x.contiguous().view(x.shape[0], rows, cols, spatial.numel())
    if together:
        laid = laid.permute(1, 2, 0, 3).reshape(1, rows, cols, x.shape[0] * spatial.numel())
    image = laid.permute(0, 3, 1, 2)
    if pool == "mean":
        image = F.avg_pool2d(image, size, stride, padding, count_include_pad=False)
    else:
        image = F.max_pool2d(image, size, stride, padding)
    out = image.permute(0, 2, 3, 1)
    if together:
        out = out.reshape(shape[1], shape[0], spatial.numel()).transpose(0, 1).contiguous()
    out = out.reshape(shape).to(x.dtype)
    memory = memory_format_of(x)
    return out if memory == torch.contiguous_format else lying(out, memory)
