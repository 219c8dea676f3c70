"""Feature maps of the first layer, through a sigmoid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from surgeon.errors import PictureError
from surgeon.graph.leaves import is_norm
from surgeon.host import in_own_state
from surgeon.insight.listening import is_spatial, network_of, outputs
from surgeon.insight.picture import Picture, png
from surgeon.insight.raster import grid, seen, show, side_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS, ROWS = 6, 4


@in_own_state()
def feature_maps(model: nn.Module, images: Tensor, *, seed: int = 0) -> tuple[str, Tensor]:
    """(the layer, its maps (N, C, h, w) in (0, 1)): the first convolution's norm, else that convolution,
    through a sigmoid.

    images: (N, C, H, W) in [0, 1]. With what a surgery inserted behind the layer. You et al., Fig. 3, show
    the convolution.

    Raises PictureError for a model without a convolution or weight map over space.
    """
    network = network_of(model)
    found = list(outputs(model, images, seed=seed).items())
    for (site, output), behind in zip(found, [*found[1:], None], strict=True):
        if not is_spatial(network.get_submodule(site)) or output.value.dim() != 4:
            continue
        if (
            behind
            and is_norm(network.get_submodule(behind[0]))
            and behind[1].value.shape == output.value.shape
        ):
            site, output = behind
        return site, torch.sigmoid(output.value)
    raise PictureError(f"{type(network).__name__} has no convolution over space, so no feature maps to show")


def draw_features(images: Tensor, models: Mapping[str, Tensor], count: int = MAPS) -> Figure:
    """A row for each image and model: the image (C, H, W), then the first `count` maps of `feature_maps`,
    from 0 to 1.

    models: name → maps (N, C', h, w) of the same images.
    """
    columns = min(count, max(maps.shape[1] for maps in models.values()))
    rows = [(i, name) for i in range(len(images)) for name in models]
    figure, axes = grid(len(rows), columns + 1, extra=0.55)
    drawn: Any = None
    for line, (i, name) in zip(axes, rows, strict=True):
        show(line[0], seen(images[i]))
        side_text(line[0], name if len(models) > 1 else f"image {i + 1}")
        for k, axis in enumerate(line[1:]):
            axis.axis("off")
            if k < models[name].shape[1]:
                drawn = show(axis, models[name][i, k], cmap="gray", vmin=0, vmax=1)
    for k, axis in enumerate(axes[0]):
        axis.set_title("input" if k == 0 else f"map {k}", fontsize=8.5)
    bar = figure.colorbar(
        drawn, ax=list(axes[:, 1:].flatten()), orientation="horizontal", aspect=50, pad=0.02
    )
    bar.set_label("sigmoid of the activation (no unit)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def pictured(models: Mapping[str, nn.Module], images: Tensor, *, seed: int = 0) -> Picture:
    """The picture of the first maps of a few images; the first model is the subject, and its errors are
    raised.
    """
    shown = images[: max(1, min(3, ROWS // len(models)))]
    found = {name: feature_maps(model, shown, seed=seed) for name, model in models.items()}
    spread = "; ".join(f"{n} ({site}): mean {maps.mean():.2f}, "
                       f"standard deviation {maps.std(correction=0):.2f}"
                       for n, (site, maps) in found.items())  # fmt: skip
    where = ", ".join(dict.fromkeys(site for site, _ in found.values()))
    return Picture(
        "features",
        f"First feature maps ({where})",
        f"The input and the first maps of the first layer ({where}, with what the surgery inserted behind "
        f"it), each activation through a sigmoid: 0.5 is an activation of 0. Over all maps: {spread}. "
        "After You et al., Fig. 3.",
        f"A grid of {len(shown)} images and their first feature maps. {spread}.",
        png(lambda: draw_features(shown, {name: maps for name, (_, maps) in found.items()})),
    )
