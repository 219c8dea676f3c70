"""The normal equations of a convolution over calibration images.

A layer splits into independent problems: one for all output channels of an ordinary convolution, one for each
group, or, if a mask lets different positions through for each channel, one for each output channel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surgeon.tensors.least_squares import Equations

_MOST_IMAGES, _MOST_MASKED_IMAGES = 64, 256
"""Images at once; with a mask more, since what is done once a part is as much as the rest."""
_MOST_PATCHES = 50_000_000
"""Largest number of entries in the patches of images that are processed at once."""
_PLACES = 64
_BLOCKS, _LEAST_BLOCK = 4, 32
"""Rows of blocks that a Gram matrix is computed in, and the fewest rows of one."""
_MOST_MASKED = 60_000_000
"""Largest number of entries in a masked layer's Gram matrices; above it the mask is ignored."""


def equations(
    layer: Any,
    x: Tensor,
    wanted: Tensor,
    *,
    mask: Tensor | None = None,
    centred: bool = False,
    fit_bias: bool = False,
) -> Equations:
    """Compute the normal equations of a Conv2d with zero padding, for its weights.

    Memory: a few images' patches, and the matrices.

    Args:
        layer: The convolution.
        x: Its inputs, (N, C_in, H, W).
        wanted: The outputs to reach, (N, C_out, H_out, W_out).
        mask: (C_out, H_out, W_out), the positions that count; None for all.
        centred: Use deviations from the means.
        fit_bias: Fit a bias too, as a last weight.

    Returns:
        The equations.
    """
    groups = layer.groups
    width = layer.weight[0].numel() + fit_bias
    outputs = layer.weight.shape[0]
    masked = mask is not None and groups == 1 and outputs * width**2 <= _MOST_MASKED
    sums = _Sums(outputs if masked else groups, outputs, width, x.device)
    places = wanted[0, 0].numel()
    most = _MOST_MASKED_IMAGES if masked else _MOST_IMAGES
    images = min(most, max(1, _MOST_PATCHES // (groups * width * places)))
    for part, out in zip(x.split(images), wanted.split(images), strict=True):
        y = out.flatten(2)
        if masked and mask is not None:
            sums.add_masked(_at_places(layer, part, fit_bias), y, mask.flatten(1).to(part))
        else:
            u = _patches(layer, part, groups, fit_bias).flatten(2)
            sums.add(u, y.transpose(0, 1).reshape(groups, outputs // groups, -1))
    return sums.means(centred)


class _Sums:
    """Running sums of the products, in float64."""

    def __init__(self, problems: int, outputs: int, width: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(problems, *shape, dtype=torch.float64, device=device)

        each = outputs // problems
        self.gram, self.cross = zeros(width, width), zeros(each, width)
        self.u, self.y = zeros(1, width), zeros(each, 1)
        self.energy, self.count = zeros(each, 1), zeros(1, 1)

    def add(self, u: Tensor, y: Tensor) -> None:
        """Add images. u: (groups, d, positions of all images), y: (groups, outputs, the same)."""
        # Products in the inputs' own precision, which is fast; sums over all images in double.
        self.gram += _gram(u).double()
        self.cross += (y @ u.mT).double()
        self.u += u.sum(2).double().unsqueeze(1)
        self.y += y.sum(2, keepdim=True).double()
        self.energy += y.square().sum(2, keepdim=True).double()
        self.count += u.shape[2]

    def add_masked(self, u: Tensor, y: Tensor, mask: Tensor) -> None:
        """Add images with a mask. u: (positions, d, images), y: (images, C, positions), mask: (C, positions).

        The products at each position come first, since all channels share them.
        """
        for k in range(0, len(u), _PLACES):
            some = slice(k, k + _PLACES)
            a, kept = u[some], mask[:, some]
            here = y[:, :, some].permute(2, 1, 0) * kept.mT.unsqueeze(2)
            self.gram += (kept @ (a @ a.mT).flatten(1)).view_as(self.gram).double()
            self.cross += (here @ a.mT).sum(0).unsqueeze(1).double()
            self.u += (kept @ a.sum(2)).unsqueeze(1).double()
            self.y += here.sum((0, 2)).view_as(self.y).double()
            self.energy += here.square().sum((0, 2)).view_as(self.energy).double()
        self.count += mask.sum(1).view_as(self.count).double() * y.shape[0]

    def means(self, centred: bool) -> Equations:
        """Return the equations of what was added."""
        # No position may be left over by a channel's mask.
        count = self.count.clamp_min(1)
        gram, cross, u, y, energy = (t / count for t in (self.gram, self.cross, self.u, self.y, self.energy))
        if centred:
            gram, cross, energy = gram - u.mT @ u, cross - y @ u, energy - y.square()
        return Equations(gram, cross, energy.sum())


def _patches(layer: Any, x: Tensor, groups: int, fit_bias: bool) -> Tensor:
    """Return (groups, d, images, positions): the inputs that each output is a weighted sum of, as F.unfold gives them,
    but channels first."""
    windows = _windows(layer, x, (1, 0, 2, 3)).permute(2, 3, 4, 5, 0, 1)
    channels, high, wide, images, *places = windows.shape
    u = windows.reshape(groups, channels // groups * high * wide, images, places[0] * places[1])
    return torch.cat([u, u.new_ones(groups, 1, *u.shape[2:])], 1) if fit_bias else u


def _at_places(layer: Any, x: Tensor, fit_bias: bool) -> Tensor:
    """Return (positions, d, images): the same for each position by itself."""
    windows = _windows(layer, x, (2, 3, 1, 0))
    rows, columns, channels, high, wide, images = windows.shape
    u = windows.reshape(rows * columns, channels * high * wide, images)
    return torch.cat([u, u.new_ones(len(u), 1, images)], 1) if fit_bias else u


def _windows(layer: Any, x: Tensor, order: tuple[int, ...]) -> Tensor:
    """Return (rows, columns, C_in, kernel rows, kernel columns, images), a view of the padded images.

    order: how the axes N, C, H, W of those images lie in memory, so that what reads the view is one copy.
    """
    (high, wide), (tall, broad), (top, left), (down, along) = (
        layer.kernel_size,
        layer.dilation,
        layer.padding,
        layer.stride,
    )
    lain = F.pad(x, (left, left, top, top)).permute(order).contiguous()
    padded = lain.permute([order.index(axis) for axis in range(4)])
    images, channels, *size = padded.shape
    rows = (size[0] - tall * (high - 1) - 1) // down + 1
    columns = (size[1] - broad * (wide - 1) - 1) // along + 1
    of_image, of_channel, of_row, of_column = padded.stride()
    return lain.as_strided(
        (rows, columns, channels, high, wide, images),
        (of_row * down, of_column * along, of_channel, of_row * tall, of_column * broad, of_image),
    )


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
