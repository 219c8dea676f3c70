"""Drawing tensors on a figure's axes: images, maps, and rows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy import float32
    from numpy.typing import NDArray


MOST = 11
"""Characters of a class name that fit above an image."""


def seen(image: Tensor) -> NDArray[float32]:
    """Convert an image into an array that matplotlib shows.

    Args:
        image: (C, H, W) in [0, 1]; one channel is shown in gray, three in colour, others by their mean.

    Returns:
        (H, W, 3) in [0, 1].
    """
    image = image.detach().float().cpu().clamp(0, 1)
    if image.shape[0] != 3:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    return image.permute(1, 2, 0).contiguous().numpy()


def show(axes: Axes, picture: Tensor | NDArray[Any], **how: Any) -> AxesImage:
    """Draw an array or a tensor (H, W) without ticks.

    Args:
        axes: Where to draw.
        picture: (H, W), or (H, W, 3) for colour.
        how: Further arguments of matplotlib's imshow.

    Returns:
        matplotlib's image.
    """
    if isinstance(picture, Tensor):
        picture = picture.detach().float().cpu().numpy()
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.imshow(picture, interpolation="nearest", **how)


def grid(rows: int, columns: int, *, tile: float | None = None, extra: float = 0.3) -> tuple[Figure, Any]:
    """Make a figure of square tiles.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        tile: Side of a tile in inches; by default as large as fits.
        extra: Height for titles in inches.

    Returns:
        (the figure, its axes as an array (rows, columns)).
    """
    from surgeon.insight.picture import WIDTH, blank

    side = (WIDTH - 0.9) / max(columns, 3) if tile is None else tile
    figure = blank(rows * side + extra)
    return figure, figure.subplots(rows, columns, squeeze=False)


def side_text(axes: Axes, text: str) -> None:
    """Write the name of a row at its left.

    Args:
        axes: The row's first axes.
        text: The name.
    """
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8, labelpad=4)


def named(label: int, names: Sequence[str] | None, most: int | None = MOST) -> str:
    """Return the name of a class, shortened, or its index.

    Args:
        label: Index of the class.
        names: Names of the classes; None for indices.
        most: The largest number of characters; None for the full name.

    Returns:
        The name.
    """
    text = str(names[label]) if names is not None and 0 <= label < len(names) else str(label)
    return text if most is None or len(text) <= most else text[: most - 1] + "…"


def spread_out(count: int, most: int) -> list[int]:
    """Choose indices evenly from the first to the last.

    Args:
        count: Number of indices to choose from.
        most: The largest number of indices to choose.

    Returns:
        The indices.
    """
    if count <= most:
        return list(range(count))
    return torch.linspace(0, count - 1, most).round().long().tolist()
