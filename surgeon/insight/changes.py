"""How far a perturbation of the input moves each layer, and how wide each layer's activations spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.host import in_own_state
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
    """Layer → mean over the images of ‖h(x') − h(x)‖₂ / ‖h(x)‖₂, without unit, in execution order.

    images, changed: (N, C, H, W) in [0, 1], x and x'. h is the output of a convolution, weight map, norm or
    linear layer in evaluation mode, with what a surgery inserted behind it. A model that is random there
    draws the same for both. A layer that is zero for x and is not for x' changes infinitely. After Bashivan
    et al., Fig. A4.

    Raises DataError for batches of different shapes, and for no images.
    """
    if images.shape != changed.shape or len(images) == 0:
        raise DataError(
            f"images {tuple(images.shape)} and changed images {tuple(changed.shape)} must have one shape, "
            "and be some"
        )
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
    """Layer → standard deviation of its activations over images, channels and space, in their own unit.

    images: (N, C, H, W) in [0, 1]. Divided by N, as the s(h) of the adversarial noise layer (You et al., Fig.
    2).
    """
    return {
        site: float(output.value.double().std(correction=0))
        for site, output in outputs(model, images, seed=seed).items()
    }


def draw_changes(panels: Mapping[str, Mapping[str, ByLayer]]) -> Figure:
    """One panel a perturbation, one line a model: perturbation → model → `layer_changes`; one scale for
    all.
    """
    return draw_lines(panels, "relative change of activations\n(mean ‖h(x′) − h(x)‖ / ‖h(x)‖)")


def draw_spread(models: Mapping[str, ByLayer]) -> Figure:
    """One line a model: model → `spread_by_layer`."""
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
    """The picture of how far noise and attack move the layers of models; images as in `layer_changes`."""
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
    """The picture of the activations' standard deviation by layer."""
    found = {name: spread_by_layer(model, images, seed=seed) for name, model in models.items()}
    return Picture(
        "spread",
        "How wide each layer's activations spread",
        f"The standard deviation of each layer's activations over {len(images)} images, all channels and "
        "all positions; the adversarial noise layer sizes its noise by it. After You et al., Fig. 2, here "
        "by layer.",
        f"Line chart of the standard deviation by layer. {told(found)}.",
        png(lambda: draw_spread(found)),
    )
