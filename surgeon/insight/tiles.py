"""Kernels on their sheet, and the array of tiles that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surgeon.insight.raster import seen

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


LONG = 16
"""Number of kernels in a row when a sheet that has only one row is shown."""


@dataclass(frozen=True)
class Kernels:
    """Kernels (C, C_in, k_h, k_w) in the order of their sheet, filled row by row."""

    weight: Tensor
    sheet: tuple[int, int]

    @property
    def neighbours(self) -> float:
        """Mean cosine similarity of neighbouring kernels in a row or column; NaN without neighbours."""
        unit = nn.functional.normalize(self.weight.double().flatten(1), dim=1).view(*self.sheet, -1)
        pairs = [(unit[:, 1:] * unit[:, :-1]).sum(2).flatten(), (unit[1:] * unit[:-1]).sum(2).flatten()]
        return float(torch.cat(pairs).mean())


def tiled(kernels: Kernels) -> NDArray[float32]:
    """Arrange kernels as tiles with white gaps, each weight several pixels large.

    Args:
        kernels: The kernels and their sheet.

    Returns:
        An image (height, width, 3) in [0, 1].
    """
    weight, (rows, columns) = kernels.weight.float(), kernels.sheet
    if rows == 1 and columns > LONG:
        rows, columns = -(-columns // LONG), LONG
    weight = 0.5 + weight / (2 * weight.abs().max().clamp_min(1e-30))
    size, gap = max(1, 16 // max(weight.shape[2:])), 2
    height, width = (side * size for side in weight.shape[2:])
    sheet = torch.ones(3, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for k, kernel in enumerate(weight):
        tile = torch.from_numpy(seen(kernel)).permute(2, 0, 1)
        top, left = (k // columns) * (height + gap), (k % columns) * (width + gap)
        sheet[:, top : top + height, left : left + width] = tile.repeat_interleave(size, 1).repeat_interleave(
            size, 2
        )
    return seen(sheet)
