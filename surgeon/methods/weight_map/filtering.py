"""The fixed filter of a weight map with stride 1: ones of a window, and its middle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon.methods.weight_map.box import box

Pair = tuple[int, int]
LARGEST = 11
"""Largest side of a window that compiled code takes: it adds up each window anew."""


@dataclass(frozen=True)
class Filter:
    """The filter box · (ones of a window) + centre · (its middle), with zeros around.

    Attributes:
        kernel: (height, width) of the window.
        pads: Zeros (before, after) each side.
        box: Factor of the ones.
        centre: Factor of the middle.
        later: Take the later of two middle places.
    """

    kernel: Pair
    pads: tuple[Pair, Pair]
    box: float
    centre: float
    later: bool = False

    @property
    def middle(self) -> Pair:
        """The middle of the window: of two middle places the earlier, or the later if `later`."""
        return tuple((k if self.later else k - 1) // 2 for k in self.kernel)  # type: ignore[return-value]  # two sides

    @property
    def adjoint(self) -> Filter:
        """The filter that gradients go through."""
        top, left = ((k - 1 - pads[0], pads[0]) for k, pads in zip(self.kernel, self.pads, strict=True))
        return Filter(self.kernel, (top, left), self.box, self.centre, not self.later)

    @property
    def keeps_size(self) -> bool:
        """Whether outputs are as large as inputs, and the window is one that compiled code takes."""
        return max(self.kernel) <= LARGEST and all(
            sum(pads) == k - 1 for pads, k in zip(self.pads, self.kernel, strict=True)
        )


def plainly(m: Tensor, filtering: Filter) -> Tensor:
    """Apply the filter by torch's operations, which are differentiable themselves.

    Args:
        m: (N, C, H, W).
        filtering: A filter that keeps the size.

    Returns:
        (N, C, H, W).
    """
    out = box(m, filtering.kernel, (1, 1), filtering.pads, (1, 1), 1, negative=False) * filtering.box
    if not filtering.centre:
        return out
    rows, columns = (k - pads[0] for k, pads in zip(filtering.middle, filtering.pads, strict=True))
    return out + filtering.centre * torch.nn.functional.pad(m, (-columns, columns, -rows, rows))
