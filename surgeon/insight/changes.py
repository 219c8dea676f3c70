"""How much a perturbation of the input changes each layer, and how wide each layer's activations spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.host import in_own_state
from surgeon.insight.door import seen_by
from surgeon.insight.lines import ByLayer, draw_lines, told
from surgeon.insight.listening import Output, listening, network_of, outputs
from surgeon.insight.picture import Picture, png
from surgeon.models.quiet import held_still

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH = 8


@in_own_state()
@torch.no_grad()
def layer_changes(model: nn.Module, images: Tensor, changed: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Measure the relative change of each layer's output under a perturbation of the images.

    This is the mean over the images of ‖h(x′) − h(x)‖₂ / ‖h(x)‖₂, after Bashivan et al., Fig. A4. h is the
    output of a convolution, weight map, norm or linear layer in evaluation mode, including what a surgery
    inserted behind it. A random model draws the same for both. The change of a layer that is zero for x but
    not for x′ is infinite.

    Args:
        model: Takes [0, 1] pixels.
        images: (N, C, H, W) in [0, 1], x.
        changed: (N, C, H, W) in [0, 1], x′.
        seed: Seed for a model that is random.

    Returns:
        Layer → relative change, without unit, in execution order.

    Raises:
        DataError: The batches differ in shape, or there are no images.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight.changes import layer_changes
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(16, 3))
        >>> images = torch.rand(2, 3, 4, 4)
        >>> changes = layer_changes(model, images, images / 2)
        >>> round(changes["0"], 4)
        0.5
    """
    both = isinstance(images, Tensor) and isinstance(changed, Tensor)
    if both and (images.shape != changed.shape or len(images) == 0):
        raise DataError(
            f"images {tuple(images.shape)} and changed images {tuple(changed.shape)} must have one shape, "
            "and be some"
        )
    images, changed = seen_by(model, images), seen_by(model, changed, "changed images")
    network = network_of(model)
    total: dict[str, float] = {}
    for start in range(0, len(images), BATCH):
        before = outputs(model, images[start : start + BATCH], seed=seed)
        site_of = {output.module: site for site, output in before.items()}

        def compare(  # the defaults hold this round's values
            name: str, value: Tensor, before: dict[str, Output] = before, site_of: dict[str, str] = site_of
        ) -> None:
            clean = before[site_of[name]].value.flatten(1).double()
            moved = (value.flatten(1).double() - clean).norm(dim=1)
            ratio = torch.where(moved == 0, torch.zeros_like(moved), moved / clean.norm(dim=1))
            total[site_of[name]] = total.get(site_of[name], 0.0) + float(ratio.sum())

        with held_still(model, seed), listening(network, site_of, compare):
            model(changed[start : start + BATCH])
    return {site: value / len(images) for site, value in total.items()}


@in_own_state()
def spread_by_layer(model: nn.Module, images: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Measure the standard deviation of each layer's activations over images, channels and space.

    It is divided by N, not N − 1, as s(h) of the adversarial noise layer (You et al., Fig. 2).

    Args:
        model: Takes [0, 1] pixels.
        images: (N, C, H, W) in [0, 1].
        seed: Seed for a model that is random.

    Returns:
        Layer → standard deviation in the unit of its activations, in execution order.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight.changes import spread_by_layer
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 3))
        >>> list(spread_by_layer(model, torch.rand(2, 3, 4, 4)))
        ['0', '2']
    """
    return {
        site: float(output.value.double().std(correction=0))
        for site, output in outputs(model, images, seed=seed).items()
    }


def draw_changes(panels: Mapping[str, Mapping[str, ByLayer]]) -> Figure:
    """Draw one panel per perturbation and one line per model, all on one scale.

    Args:
        panels: Perturbation → model → result of `layer_changes`.

    Returns:
        The figure.
    """
    return draw_lines(panels, "relative change of activations\n(mean ‖h(x′) − h(x)‖ / ‖h(x)‖)")


def draw_spread(models: Mapping[str, ByLayer]) -> Figure:
    """Draw one line per model.

    Args:
        models: Model → result of `spread_by_layer`.

    Returns:
        The figure.
    """
    return draw_lines({"": models}, "standard deviation\n(unit of the activations)", height=3.0)


def pictured_changes(
    models: Mapping[str, nn.Module],
    images: Tensor,
    noisy: Tensor,
    adversarial: Tensor,
    *,
    sigma: float,
    seed: int = 0,
) -> Picture:
    """Make the picture of how much noise and attack change the layers of models.

    Args:
        models: Models of [0, 1] pixels, by name; the attack was made on the first.
        images: (N, C, H, W) in [0, 1].
        noisy: (N, C, H, W), the images with noise.
        adversarial: (N, C, H, W), the images attacked.
        sigma: Standard deviation of the noise, in [0, 1] pixels.
        seed: Seed for models that are random.

    Returns:
        The picture.
    """
    pairs = {f"Gaussian noise, σ = {sigma:g}": noisy, "attack": adversarial}
    panels = {
        t: {n: layer_changes(m, images, x, seed=seed) for n, m in models.items()} for t, x in pairs.items()
    }
    sizes = [float((x - images).flatten(1).norm(dim=1).mean()) for x in pairs.values()]
    return Picture(
        "changes",
        "How far noise and attack move each layer",
        "How much of a layer's activations changes when the image does: the length of the change over the "
        f"length of the activations, mean of {len(images)} images, for every convolution, norm and linear "
        "layer (with what the surgery inserted behind it). Mean L2 length of the change of the image: "
        f"{sizes[0]:.3g} for noise (clipped to [0, 1]), {sizes[1]:.3g} for the attack, which was made on "
        f"{next(iter(models))}. After Bashivan et al., Figs. A3 and A4.",
        "Line charts of the relative change by layer. "
        + ". ".join(f"{t}: {told(m)}" for t, m in panels.items())
        + ".",
        png(lambda: draw_changes(panels)),
    )


def pictured_spread(models: Mapping[str, nn.Module], images: Tensor, *, seed: int = 0) -> Picture:
    """Make the picture of the activations' standard deviation by layer.

    Args:
        models: Models of [0, 1] pixels, by name.
        images: (N, C, H, W) in [0, 1].
        seed: Seed for models that are random.

    Returns:
        The picture.
    """
    spreads = {name: spread_by_layer(model, images, seed=seed) for name, model in models.items()}
    return Picture(
        "spread",
        "How wide each layer's activations spread",
        f"The standard deviation of each layer's activations over {len(images)} images, all channels and "
        "all positions; the adversarial noise layer sizes its noise by it. After You et al., Fig. 2, here "
        "by layer.",
        f"Line chart of the standard deviation by layer. {told(spreads)}.",
        png(lambda: draw_spread(spreads)),
    )
