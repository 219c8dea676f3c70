"""The normal equations of a convolution over calibration images.

A layer splits into independent problems: one for all output channels of an ordinary convolution, one for each
group, or, if a mask lets different positions through for each channel, one for each output channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.tensors.least_squares import Equations
from surgeon.tensors.patch_products import Products, products, windows

_MOST_IMAGES, _MOST_MASKED_IMAGES = 64, 256
"""Images at once; with a mask more, since what is done once a part is as much as the rest."""
_MOST_PATCHES = 50_000_000
"""Largest number of entries in the patches of images that are processed at once."""
_PLACES = 64
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
        if masked and mask is not None:
            sums.add_masked(_at_places(layer, part, fit_bias), out.flatten(2), mask.flatten(1).to(part))
        else:
            sums.add(products(layer, part, out), out, fit_bias)
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

    def add(self, part: Products, y: Tensor, fit_bias: bool) -> None:
        """Add images, whose outputs are to be y: (images, C, H, W)."""
        # Products in the inputs' own precision, which is fast; sums over all images in double.
        gram, cross, u = (t.double() for t in part)
        number, sums = y.numel() // y.shape[1], y.double().sum((0, 2, 3)).view_as(self.y)
        if fit_bias:  # an entry more of each patch, which is 1
            gram = torch.cat([gram, u.unsqueeze(1)], 1)
            u = torch.cat([u, u.new_full((len(u), 1), number)], 1)
            gram, cross = torch.cat([gram, u.unsqueeze(2)], 2), torch.cat([cross, sums], 2)
        self.gram += gram
        self.cross += cross
        self.u += u.unsqueeze(1)
        self.y += sums
        self.energy += y.square().sum((0, 2, 3)).double().view_as(self.energy)
        self.count += number

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


def _at_places(layer: Any, x: Tensor, fit_bias: bool) -> Tensor:
    """Return (positions, d, images): the same for each position by itself."""
    patches = windows(layer, x, (2, 3, 1, 0))
    rows, columns, channels, high, wide, images = patches.shape
    u = patches.reshape(rows * columns, channels * high * wide, images)
    return torch.cat([u, u.new_ones(len(u), 1, images)], 1) if fit_bias else u
