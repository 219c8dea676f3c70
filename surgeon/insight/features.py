"""Feature maps of the first layer, passed through a sigmoid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from surgeon.errors import PictureError
from surgeon.graph.trees.leaves import is_norm
from surgeon.host import in_own_state
from surgeon.insight.listening import network_of, outputs
from surgeon.insight.picture import Picture, png
from surgeon.insight.raster import grid, seen, show, side_text
from surgeon.tensors.instead import convolves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS, ROWS = 6, 4


@in_own_state()
def feature_maps(model: nn.Module, images: Tensor, *, seed: int = 0) -> tuple[str, Tensor]:
    """Compute the feature maps of the first layer, passed through a sigmoid.

    The layer is the norm behind the first convolution, or that convolution if no norm follows, including what
    a surgery inserted behind it. You et al., Fig. 3, show the convolution.

    Args:
        model: Takes [0, 1] pixels.
        images: (N, C, H, W) in [0, 1].
        seed: Seed for a model that is random.

    Returns:
        (name of the layer, its maps (N, C′, h, w) in (0, 1)).

    Raises:
        PictureError: The model has no convolution or weight map over space.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight.features import feature_maps
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
        >>> layer, maps = feature_maps(model, torch.rand(2, 3, 4, 4))
        >>> layer, tuple(maps.shape)
        ('1', (2, 4, 2, 2))
    """
    network = network_of(model)
    layers = list(outputs(model, images, seed=seed).items())
    for (site, output), behind in zip(layers, [*layers[1:], None], strict=True):
        if not convolves(network.get_submodule(site)) or output.value.dim() != 4:
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
    """Draw one row per image and model: the image, then the first maps of `feature_maps`, from 0 to 1.

    Args:
        images: (N, C, H, W) in [0, 1].
        models: Name of the model → maps (N, C′, h, w) of these images.
        count: The largest number of maps in a row.

    Returns:
        The figure.
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
    """Make the picture of the first feature maps of a few images.

    Args:
        models: Models of [0, 1] pixels, by name; errors of the first are raised.
        images: (N, C, H, W) in [0, 1]; at most three are shown.
        seed: Seed for models that are random.

    Returns:
        The picture.

    Raises:
        PictureError: A model has no convolution or weight map over space.
    """
    shown = images[: max(1, min(3, ROWS // len(models)))]
    by_model = {name: feature_maps(model, shown, seed=seed) for name, model in models.items()}
    spread = "; ".join(
        f"{n} ({site}): mean {maps.mean():.2f}, standard deviation {maps.std(correction=0):.2f}"
        for n, (site, maps) in by_model.items()
    )
    where = ", ".join(dict.fromkeys(site for site, _ in by_model.values()))
    return Picture(
        "features",
        f"First feature maps ({where})",
        f"The input and the first maps of the first layer ({where}, with what the surgery inserted behind "
        f"it), each activation through a sigmoid: 0.5 is an activation of 0. Over all maps: {spread}. "
        "After You et al., Fig. 3.",
        f"A grid of {len(shown)} images and their first feature maps. {spread}.",
        png(lambda: draw_features(shown, {name: maps for name, (_, maps) in by_model.items()})),
    )
