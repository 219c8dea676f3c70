"""The weight map layer on a GPU: matrix products on channels_last memory, then one kernel for the filter.

The paper's case (stride 1, an output as large as the input) in channels_last needs no copies into the layout
of the product and back: cuBLAS reads a position's activations in place, (N, C) with rows H·W·C apart. The
filter and the bias are one kernel. Other cases go the way of `maths.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.methods.weight_map.filtering import Filter, plainly
from surgeon.tensors import gpu

Pair = tuple[int, int]
HALVES = (torch.float16, torch.bfloat16)
BLOCK = 512
"""Numbers of a row that one program processes."""
GRID = 65_535
"""The most that CUDA counts along a second axis."""


def takes(x: Tensor, weight: Tensor, stride: Pair, dilation: Pair, groups: int, filtering: Filter) -> bool:
    """Say whether `on_gpu` can compute a weight map.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in, H, W).
        stride: Stride along each side.
        dilation: Dilation along each side.
        groups: Groups of channels.
        filtering: The filter.

    Returns:
        Whether it can.
    """
    return (
        stride == dilation == (1, 1)
        and groups == 1
        and filtering.keeps_size
        and gpu.takes(x, weight)
        and (weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type))
        and weight.permute(2, 3, 1, 0).is_contiguous()
    )


def on_gpu(x: Tensor, weight: Tensor, bias: Tensor | None, filtering: Filter) -> Tensor:
    """Compute a weight map on a GPU; under autocast in its precision.

    Gradients of gradients go through plain torch operations.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in, H, W).
        bias: (C_out, H, W) or None.
        filtering: The filter.

    Returns:
        (N, C_out, H, W) in channels_last.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    _, c_in, height, width = x.shape
    maps = weight.permute(2, 3, 1, 0).view(height * width, c_in, -1)
    if bias is not None:
        bias = bias.expand(weight.shape[0], height, width)
    out: Tensor = _WeightMap.apply(x.contiguous(memory_format=torch.channels_last), maps, bias, filtering)
    return out


class _WeightMap(torch.autograd.Function):
    """The layer with its own backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Tensor, bias: Tensor | None, filtering: Filter) -> Tensor:
        ctx.save_for_backward(x, maps)
        ctx.filtering, ctx.bias = filtering, None if bias is None else bias.dtype
        return filtered(product(x, maps), bias, filtering)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, maps = ctx.saved_tensors
        needs_x, needs_maps, needs_bias, _ = ctx.needs_input_grad
        back: Filter = ctx.filtering.adjoint
        of_bias: Tensor | None
        if torch.is_grad_enabled():
            g, of_bias = plainly(gradient, back), gradient.sum(0)
        else:
            g, of_bias = filtered(
                gradient.contiguous(memory_format=torch.channels_last), None, back, sums=needs_bias
            )
        of_x = product(g, maps.to(g.dtype).transpose(1, 2)) if needs_x else None
        of_maps = _of_maps(x, g, maps.dtype) if needs_maps else None
        if not needs_bias or of_bias is None:
            return of_x, of_maps, None, None
        return of_x, of_maps, of_bias.to(ctx.bias), None


def product(x: Tensor, maps: Tensor) -> Tensor:
    """Multiply x[n, :, p] by maps[p] at each position p.

    Args:
        x: (N, C_in, H, W) in channels_last.
        maps: (H·W, C_in, C_out).

    Returns:
        (N, C_out, H, W) in channels_last.
    """
    n, _, height, width = x.shape
    maps = maps.to(x.dtype)
    if torch.is_grad_enabled():
        products = torch.bmm(_places(x), maps)
        return products.view(height, width, n, -1).permute(2, 3, 0, 1)
    out = x.new_empty(n, height, width, maps.shape[2])
    torch.bmm(_places(x), maps, out=out.view(n, height * width, -1).transpose(0, 1))
    return out.permute(0, 3, 1, 2)


def _of_maps(x: Tensor, g: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the gradient of the maps."""
    left, right = _places(x).transpose(1, 2), _places(g)
    if dtype == torch.float32 and x.dtype in HALVES and x.is_cuda and not torch.is_grad_enabled():
        return torch.bmm(left, right, out_dtype=dtype)
    return torch.bmm(left, right).to(dtype)


def _places(x: Tensor) -> Tensor:
    """View (N, C, H, W) in channels_last as (H·W, N, C)."""
    return x.permute(2, 3, 0, 1).flatten(0, 1)


def filtered(
    m: Tensor, bias: Tensor | None, filtering: Filter, *, sums: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Apply the filter by one kernel. All tensors are in channels_last.

    Args:
        m: (N, C, H, W).
        bias: (C, H, W), added to each image, or None.
        filtering: The filter.
        sums: Also sum `m` over the images.

    Returns:
        (N, C, H, W), and (C, H, W) float32 or None.
    """
    from surgeon.methods.weight_map import kernels

    n, channels, height, width = m.shape
    out = torch.empty_like(m)  # channels_last too
    parts = -(-height // 4) * -(-width * channels // BLOCK)
    chunk = max(1, min(16, n * parts // 4096), -(-n // GRID))
    chunks = -(-n // chunk)
    total = m.new_empty(chunks if sums else 0, height, width, channels, dtype=torch.float32)
    kernel, middle = filtering.kernel, filtering.middle
    first = (filtering.pads[0][0], filtering.pads[1][0])
    with torch.cuda.device_of(m):
        kernels.filtered[(parts, chunks)](
            m,
            m if bias is None else bias.contiguous(),
            out,
            total if sums else m,
            n,
            height,
            width,
            channels,
            filtering.box,
            filtering.centre,
            *kernel,
            *first,
            middle[0] - first[0],
            middle[1] - first[1],
            filtering.centre != 0,
            bias is not None,
            sums,
            chunk,
            BLOCK,
            num_warps=2,
        )
    return out, total.sum(0).permute(2, 0, 1) if sums else None
