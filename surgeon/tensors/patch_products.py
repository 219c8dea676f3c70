"""Sums of products of the patches that a convolution sees: of each two of their entries, and of entries and outputs.

Patches need not be laid out one by one. If the kernel goes down row by row, the product of its rows a and a + k is
a sum over the rows of the image; that of a + 1 and a + 1 + k is the same sum without the first row of the image and
with one row more. So a kernel of r rows needs r such sums instead of r (r + 1) / 2, and patches of a single row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from surgeon.tensors.convolution import margins

_BLOCKS, _LEAST_BLOCK = 4, 32
"""Rows of blocks that a Gram matrix is computed in, and the fewest rows of one."""


class Products(NamedTuple):
    """Sums over all positions of all images, for each group of channels by itself.

    Attributes:
        gram: (groups, d, d), of each two entries of a patch.
        cross: (groups, outputs, d), of each output and each entry.
        patches: (groups, d), of the entries.
    """

    gram: Tensor
    cross: Tensor
    patches: Tensor


def products(layer: Any, x: Tensor, y: Tensor) -> Products:
    """Compute the products of a Conv2d's patches, in the order of its weights, in the inputs' precision.

    Args:
        layer: The convolution; its padding is of zeros.
        x: Its inputs, (N, C_in, H, W).
        y: What goes with its outputs, (N, C_out, H_out, W_out).

    Returns:
        The products.
    """
    (high, _), (tall, _) = layer.kernel_size, layer.dilation
    groups, rows = layer.groups, y.shape[2]
    wanted = y.permute(1, 2, 0, 3).reshape(groups, y.shape[1] // groups, -1)
    if high > 1 and layer.stride[0] == 1 and rows >= high * tall:
        return _by_rows(layer, x, wanted, rows)
    u = windows(layer, x, (1, 2, 0, 3)).permute(2, 3, 4, 0, 5, 1).reshape(groups, -1, wanted.shape[2])
    return Products(_gram(u), wanted @ u.mT, u.sum(2))


def windows(layer: Any, x: Tensor, order: tuple[int, ...]) -> Tensor:
    """Return the patches of a Conv2d with zero padding, as a view of the padded images.

    Args:
        layer: The convolution.
        x: Its inputs, (N, C_in, H, W).
        order: How the axes N, C, H, W of the padded images lie in memory, so that what reads the view is one copy.

    Returns:
        (rows, columns, C_in, kernel rows, kernel columns, N).
    """
    (high, wide), (tall, broad), (down, along) = layer.kernel_size, layer.dilation, layer.stride
    lain, padded = _padded(layer, x, order)
    images, channels, *size = padded.shape
    rows = (size[0] - tall * (high - 1) - 1) // down + 1
    columns = (size[1] - broad * (wide - 1) - 1) // along + 1
    of_image, of_channel, of_row, of_column = padded.stride()
    return lain.as_strided(
        (rows, columns, channels, high, wide, images),
        (of_row * down, of_column * along, of_channel, of_row * tall, of_column * broad, of_image),
    )


def _padded(layer: Any, x: Tensor, order: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the images with zeros around them, and a view of these as (N, C, H, W)."""
    (top, bottom), (left, right) = margins(layer)
    lain = F.pad(x, (left, right, top, bottom)).permute(order).contiguous()
    return lain, lain.permute([order.index(axis) for axis in range(4)])


def _by_rows(layer: Any, x: Tensor, y: Tensor, rows: int) -> Products:
    """Return the products from patches of single rows, where the stride from row to row is 1.

    y: (groups, outputs, positions).
    """
    (high, wide), tall, groups = layer.kernel_size, layer.dilation[0], layer.groups
    lines = _lines(layer, x)
    (top, _), _ = margins(layer)
    channels, real = x.shape[1] // groups, range(top, top + x.shape[2])

    def part(first: int, number: int) -> Tensor:
        """Rows of the image, (groups, channels × kernel columns, positions)."""
        return lines[:, :, first : first + number].flatten(2)

    def edge(first: int, ahead: int) -> Tensor | float:
        """The product of the rows at one edge of the image and those `ahead`: 0 where either are padding."""
        some = [range(k, k + tall) for k in (first, first + ahead)]
        if any(r.start >= real.stop or r.stop <= real.start for r in some):
            return 0.0
        return part(first, tall) @ part(first + ahead, tall).mT

    gram = lines.new_empty(groups, channels, high, wide, channels, high, wide)
    cross = lines.new_empty(groups, y.shape[1], channels, high, wide)
    for k in range(high):
        ahead = k * tall
        product = part(0, rows) @ part(ahead, rows).mT if k else _gram(part(0, rows))
        for a in range(high - k):
            if a:
                above = (a - 1) * tall
                product = product + (edge(above + rows, ahead) - edge(above, ahead))
            block = product.view(groups, channels, wide, channels, wide)
            gram[:, :, a, :, :, a + k] = block
            gram[:, :, a + k, :, :, a] = block.permute(0, 3, 4, 1, 2)
        cross[:, :, :, k] = (y @ part(ahead, rows).mT).view(groups, -1, channels, wide)
    each = lines.sum(3).unfold(2, rows, tall).sum(3).view(groups, channels, wide, high).mT
    width = channels * high * wide
    return Products(gram.view(groups, width, width), cross.flatten(2), each.flatten(1))


def _lines(layer: Any, x: Tensor) -> Tensor:
    """Return (groups, channels × kernel columns, padded rows, images × columns): patches of a kernel's single row."""
    wide, broad, along = layer.kernel_size[1], layer.dilation[1], layer.stride[1]
    lain, padded = _padded(layer, x, (1, 2, 0, 3))
    images, channels, height, width = padded.shape
    columns = (width - broad * (wide - 1) - 1) // along + 1
    of_image, of_channel, of_row, of_column = padded.stride()
    view = lain.as_strided(
        (channels, wide, height, images, columns),
        (of_channel, of_column * broad, of_row, of_image, of_column * along),
    )
    return view.reshape(layer.groups, channels // layer.groups * wide, height, images * columns)


def _gram(u: Tensor) -> Tensor:
    """Return u uᵀ, (groups, d, d). It is symmetric: what lies above its diagonal blocks is not computed but copied."""
    width = u.shape[1]
    gram = u.new_empty(u.shape[0], width, width)
    step = max(-(-width // _BLOCKS), _LEAST_BLOCK)
    for k in range(0, width, step):
        end = min(k + step, width)
        gram[:, k:end, :end] = u[:, k:end] @ u[:, :end].mT
        gram[:, :k, k:end] = gram[:, k:end, :k].mT
    return gram
