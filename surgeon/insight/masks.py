"""The masks of defective layers, which show the neurons that work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from surgeon.errors import PictureError
from surgeon.graph.trees.paths import has
from surgeon.insight.listening import network_of
from surgeon.insight.picture import Picture, png
from surgeon.insight.raster import grid, show, side_text, spread_out
from surgeon.numerals import percent
from surgeon.surgery.door import surgery_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS, CHANNELS = 6, 6


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Return the masks of a network's defective layers.

    Args:
        model: A network, rewritten or stock.

    Returns:
        Site → bool mask (C, H, W) on the CPU, True where the neuron works; empty without masked edits.

    Examples:
        >>> from torch import nn
        >>> from surgeon.insight.masks import masks
        >>> masks(nn.Conv2d(3, 4, 3))
        {}
    """
    network = network_of(model)
    record = surgery_of(network)
    masks_by_site: dict[str, Tensor] = {}
    for edit in record.edits if record else ():
        if edit.traits.masked and edit.layer and has(network, edit.layer):
            mask = getattr(network.get_submodule(edit.layer), "mask", None)
            if isinstance(mask, Tensor) and mask.dim() == 3:
                masks_by_site[edit.site] = mask.detach().bool().cpu().clone()
    return masks_by_site


def kept(by_layer: Mapping[str, Tensor]) -> dict[str, float]:
    """Compute the share of neurons that work.

    Args:
        by_layer: Site → mask.

    Returns:
        Site → share in [0, 1].
    """
    return {site: float(mask.double().mean()) for site, mask in by_layer.items()}


def draw_masks(by_layer: Mapping[str, Tensor], count: int = CHANNELS) -> Figure:
    """Draw up to six evenly chosen layers, one row each: the first channels, white where the neuron works.

    Args:
        by_layer: Site → mask (C, H, W).
        count: The largest number of channels in a row.

    Returns:
        The figure.
    """
    sites = [list(by_layer)[i] for i in spread_out(len(by_layer), LAYERS)]
    columns = min(count, max(len(by_layer[site]) for site in sites))
    figure, axes = grid(len(sites), columns, tile=0.8, extra=0.3)
    shares = kept(by_layer)
    for line, site in zip(axes, sites, strict=True):
        mask = by_layer[site]
        size = "×".join(map(str, mask.shape))
        side_text(line[0], f"{site}\n{size}, {percent(shares[site])} kept")
        for k, axis in enumerate(line):
            if k >= len(mask):
                axis.axis("off")
                continue
            show(axis, mask[k], cmap="gray", vmin=0, vmax=1)
            for spine in axis.spines.values():
                spine.set(visible=True, color="#888888", linewidth=0.6)
    for k, axis in enumerate(axes[0]):
        axis.set_title(f"channel {k + 1}", fontsize=8.5)
    return figure


def pictured(model: nn.Module) -> Picture:
    """Make the picture of the masks.

    Args:
        model: A network, rewritten or stock.

    Returns:
        The picture.

    Raises:
        PictureError: The model has no masks.
    """
    by_layer = masks(model)
    if not by_layer:
        raise PictureError("no layer of the model has a mask")
    shares = kept(by_layer)
    numbers = ", ".join(f"{site} {percent(share)}" for site, share in shares.items())
    total = sum(float(m.sum()) for m in by_layer.values()) / sum(m.numel() for m in by_layer.values())
    return Picture(
        "masks",
        "Which neurons work",
        "White neurons work, black ones give a constant, in training and evaluation alike; the first "
        f"channels of {min(LAYERS, len(by_layer))} of {len(by_layer)} masked layers. Kept over all: {percent(total)}. "
        "Defective convolutions, Luo et al.; the picture is ours.",
        f"Masks of {len(by_layer)} layers; {percent(total)} of their neurons work. By layer: {numbers}.",
        png(lambda: draw_masks(by_layer)),
    )
