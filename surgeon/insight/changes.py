"""How far a perturbation of the input moves each layer, and how wide each layer's activations spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.evaluation.quiet import held_still
from surgeon.insight.listening import listening, network_of, outputs
from surgeon.insight.picture import COLOURS, LINES, MARKERS, Picture, blank, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BATCH = 8
ByLayer = Mapping[str, float]
"""A number for each layer, in execution order."""


@torch.no_grad()
def layer_changes(model: nn.Module, images: Tensor, changed: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Layer → mean over the images of ‖h(x') − h(x)‖₂ / ‖h(x)‖₂, without unit, in execution order.

    images, changed: (N, C, H, W) in [0, 1], x and x'. h is the output of a convolution, weight map, norm or linear
    layer in evaluation mode, with what a surgery inserted behind it. A model that is random there draws the same for
    both. A layer that is zero for x and is not for x' changes infinitely. After Bashivan et al., Fig. A4.

    Raises DataError for batches of different shapes, and for no images.
    """
    if images.shape != changed.shape or len(images) == 0:
        raise DataError(
            f"images {tuple(images.shape)} and changed images {tuple(changed.shape)} must have one shape, and be some"
        )
    network = network_of(model)
    total: dict[str, float] = {}
    for start in range(0, len(images), BATCH):
        before = outputs(model, images[start : start + BATCH], seed=seed)
        site_of = {output.module: site for site, output in before.items()}

        def compare(name: str, value: Tensor, before=before, site_of=site_of) -> None:  # type: ignore[no-untyped-def]
            clean = before[site_of[name]].value.flatten(1).double()
            moved = (value.flatten(1).double() - clean).norm(dim=1)
            ratio = torch.where(moved == 0, torch.zeros_like(moved), moved / clean.norm(dim=1))
            total[site_of[name]] = total.get(site_of[name], 0.0) + float(ratio.sum())

        with held_still(model, seed), listening(network, site_of, compare):
            model(changed[start : start + BATCH])
    return {site: value / len(images) for site, value in total.items()}


def spread_by_layer(model: nn.Module, images: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Layer → standard deviation of its activations over images, channels and space, in their own unit.

    images: (N, C, H, W) in [0, 1]. Divided by N, as the s(h) of the adversarial noise layer (You et al., Fig. 2).
    """
    return {
        site: float(output.value.double().std(correction=0))
        for site, output in outputs(model, images, seed=seed).items()
    }


def draw_changes(panels: Mapping[str, Mapping[str, ByLayer]]) -> Figure:
    """One panel a perturbation, one line a model: perturbation → model → `layer_changes`; one scale for all."""
    figure = blank(3.3)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, models) in zip(axes, panels.items(), strict=True):
        _lines(axis, models)
        axis.set_title(title)
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("relative change of activations\n(mean ‖h(x′) − h(x)‖ / ‖h(x)‖)")
    _legend(figure, axes[0])
    return figure


def draw_spread(models: Mapping[str, ByLayer]) -> Figure:
    """One line a model: model → `spread_by_layer`."""
    figure = blank(3.0)
    axis = figure.subplots()
    _lines(axis, models)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("standard deviation\n(unit of the activations)")
    _legend(figure, axis)
    return figure


def _lines(axis: Axes, models: Mapping[str, ByLayer]) -> None:
    same = len({tuple(found) for found in models.values()}) == 1
    for k, (name, found) in enumerate(models.items()):
        count = len(found)
        x = [i + 1 if same else 100 * i / max(count - 1, 1) for i in range(count)]
        axis.plot(
            x, list(found.values()), LINES[k % len(LINES)], color=COLOURS[k % len(COLOURS)], label=name,
            marker=MARKERS[k % len(MARKERS)], markersize=3.5, linewidth=1.3, markevery=max(1, count // 20),
        )  # fmt: skip
    axis.set_xlabel("layer, in execution order" if same else "depth (% of the model's layers)")
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False, fontsize=8.5
    )


def told(models: Mapping[str, ByLayer]) -> str:
    """The numbers of a chart in words: of each model the first, the largest and the last layer's."""
    parts = []
    for name, found in models.items():
        top = max(found, key=lambda layer: found[layer])
        first, *_, last = [*found.values(), *found.values()]
        parts.append(f"{name}: first layer {first:.3g}, largest {found[top]:.3g} at {top}, last {last:.3g}")
    return "; ".join(parts)


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
        "How much of a layer's activations changes when the image does: the length of the change over the length of the "
        f"activations, mean of {len(images)} images, for every convolution, norm and linear layer (with what the surgery "
        f"inserted behind it). Mean L2 length of the change of the image: {sizes[0]:.3g} for noise (clipped to [0, 1]), "
        f"{sizes[1]:.3g} for the attack, which was made on {next(iter(models))}. After Bashivan et al., Figs. A3 and A4.",
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
        f"The standard deviation of each layer's activations over {len(images)} images, all channels and all positions; "
        "the adversarial noise layer sizes its noise by it. After You et al., Fig. 2, here by layer.",
        f"Line chart of the standard deviation by layer. {told(found)}.",
        png(lambda: draw_spread(found)),
    )
