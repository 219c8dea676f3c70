"""Tensors as axes of a figure: images, maps, and rows of them."""

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
    """(C, H, W) in [0, 1] as an array (H, W, 3): one channel as gray, three as they are, others by their
    mean.
    """
    image = image.detach().float().cpu().clamp(0, 1)
    if image.shape[0] != 3:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    return image.permute(1, 2, 0).contiguous().numpy()


def show(axes: Axes, picture: Tensor | NDArray[Any], **how: Any) -> AxesImage:
    """Draw an array or a tensor (H, W) without ticks; `how` as matplotlib's imshow has it."""
    if isinstance(picture, Tensor):
        picture = picture.detach().float().cpu().numpy()
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.imshow(picture, interpolation="nearest", **how)


def grid(rows: int, columns: int, *, tile: float | None = None, extra: float = 0.3) -> tuple[Figure, Any]:
    """A figure of rows × columns square tiles and their axes, an array (rows, columns).

    tile: inches a side, by default as many as fit. extra: inches for titles.
    """
    from surgeon.insight.picture import WIDTH, blank

    side = (WIDTH - 0.9) / max(columns, 3) if tile is None else tile
    figure = blank(rows * side + extra)
    return figure, figure.subplots(rows, columns, squeeze=False)


def side_text(axes: Axes, text: str) -> None:
    """Name a row at its left."""
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8, labelpad=4)


def named(label: int, names: Sequence[str] | None, most: int | None = MOST) -> str:
    """A class by its name, shortened to `most` characters, or by its number."""
    text = str(names[label]) if names is not None and 0 <= label < len(names) else str(label)
    return text if most is None or len(text) <= most else text[: most - 1] + "…"


def spread_out(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly from the first to the last."""
    if count <= most:
        return list(range(count))
    return torch.linspace(0, count - 1, most).round().long().tolist()
