"""Grad-CAM: where in the image the evidence for a class lies (Selvaraju et al. 2017, arXiv 1610.02391).

It is implemented here because the package pytorch-grad-cam depends on OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from surgeon.errors import ArgumentError, DataError, PictureError, nearest
from surgeon.graph.trees.paths import has
from surgeon.host import in_own_state
from surgeon.insight.attacked_images import AttackedImages
from surgeon.insight.door import check_labels, seen_by
from surgeon.insight.last_maps import last_spatial
from surgeon.insight.listening import network_of
from surgeon.insight.picture import Picture, png
from surgeon.insight.raster import grid, named, seen, show, side_text
from surgeon.models.pixels import logits_of
from surgeon.models.quiet import held_still
from surgeon.numerals import percent
from surgeon.tensors.instead import convolves

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@in_own_state()
def gradcam(
    model: nn.Module, images: Tensor, labels: Tensor, layer: str | None = None, *, seed: int = 0
) -> Tensor:
    """Compute Grad-CAM heat maps: relu(Σ_k w_k A_k), upsampled to the image and divided by their maximum.

    A are the maps of `layer`; w_k is the mean over space of the gradient of the class's logit with respect to
    A_k. A map that is 0 everywhere stays 0.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) classes whose logits are explained.
        layer: Name of a module of the network; by default `last_spatial`.
        seed: Seed for a model that is random.

    Returns:
        (N, H, W) in [0, 1].

    Raises:
        ArgumentError: There is no such layer.
        PictureError: The layer is not called or its output is not (N, K, h, w).
        DataError: Labels do not fit the images or the logits.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight.gradcam import gradcam
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        >>> gradcam(model, torch.rand(2, 3, 8, 8), torch.tensor([0, 1])).shape
        torch.Size([2, 8, 8])
    """
    network, images = network_of(model), seen_by(model, images)
    check_labels(labels, images)
    name = last_spatial(model, images[:1]) if layer is None else layer
    if not isinstance(name, str):
        raise ArgumentError(f"layer={name!r} is of type {type(name).__name__}; give the name of a module")
    if not has(network, name):
        known = nearest(name, [n for n, m in network.named_modules() if convolves(m)])
        raise ArgumentError(f"there is no layer {name!r}; {known}")
    taken: list[Tensor] = []

    def take(_module: nn.Module, _args: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.dim() != 4:
            raise PictureError(f"{name} gives no maps (N, K, h, w); name a convolution")
        taken[:] = [output.detach().clone().requires_grad_()]
        return taken[0].clone()  # a later in-place operation may change the copy, but not the maps kept here

    with held_still(model, seed), torch.enable_grad():
        handle = network.get_submodule(name).register_forward_hook(take)
        try:
            logits = logits_of(model(images.detach()))
        finally:
            handle.remove()
        if not taken:
            raise PictureError(f"{name} is not called in evaluation mode; name another layer")
        if (
            not len(labels)
            or labels.shape != logits.shape[:1]
            or int(labels.min()) < 0
            or int(labels.max()) >= logits.shape[1]
        ):
            raise DataError(
                f"labels {labels.tolist()} do not fit logits {tuple(logits.shape)} of {len(images)} images"
            )
        score = logits.gather(1, labels.to(logits.device).long().unsqueeze(1)).sum()
        gradient = torch.autograd.grad(score, taken[0])[0]
    maps = taken[0].detach()
    cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    cam = nn.functional.interpolate(cam, images.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
    most = cam.amax((1, 2), keepdim=True)
    return torch.where(most > 0, cam / most, torch.zeros_like(cam))


def draw_gradcam(
    clean: Tensor,
    adversarial: Tensor,
    before: Tensor,
    after: Tensor,
    labels: Tensor,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw images and their Grad-CAM maps before and after an attack.

    Args:
        clean: (N, C, H, W) in [0, 1].
        adversarial: (N, C, H, W) in [0, 1].
        before: (N, H, W), `gradcam` of the clean images for `labels`.
        after: (N, H, W), `gradcam` of the adversarial images for `labels`.
        labels: (N,) explained classes.
        names: Names of the classes; None for numbers.

    Returns:
        The figure.
    """
    rows = [("image", clean, None), ("clean", clean, before), ("adversarial", adversarial, after)]
    figure, axes = grid(3, len(clean), extra=0.5)
    heat: Any = None
    for line, (title, pictures, cams) in zip(axes, rows, strict=True):
        side_text(line[0], title)
        for i, axis in enumerate(line):
            picture = seen(pictures[i])
            if cams is None:
                show(axis, picture)
                axis.set_title(named(int(labels[i]), names), fontsize=8.5)
                continue
            gray = picture.mean(2)
            show(axis, gray, cmap="gray", vmin=0, vmax=1)
            cam = cams[i].float().cpu()
            heat = show(axis, cam, cmap="inferno", vmin=0, vmax=1, alpha=(0.8 * cam.sqrt()).numpy())
    bar = figure.colorbar(heat, ax=list(axes[1:].flatten()), aspect=30, pad=0.02)
    bar.set_label("Grad-CAM (share of the maximum)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def pictured(shown: AttackedImages) -> Picture:
    """Make the picture of Grad-CAM for the true classes, before and after an attack.

    Args:
        shown: The images before and after the attack.

    Returns:
        The picture.

    Raises:
        PictureError: The model has no suitable layer.
    """
    images, labels, adversarial = shown.images, shown.labels, shown.adversarial
    layer = last_spatial(shown.model, images[:1])
    before, after = (gradcam(shown.model, x, labels, layer, seed=shown.seed) for x in (images, adversarial))
    areas = [float((cam > 0.5).float().mean()) for cam in (before, after)]
    alike = float(nn.functional.cosine_similarity(before.flatten(1), after.flatten(1)).mean())
    numbers = (
        f"above half of the maximum lie {percent(areas[0])} of the clean and {percent(areas[1])} of the adversarial "
        f"pixels; the mean cosine similarity of the two maps is {alike:.2f}"
    )
    return Picture(
        "gradcam",
        "Where the evidence for the true class lies, before and after the attack",
        f"Grad-CAM of the true class (above each image) at {layer}, over the image in gray, each divided "
        "by its maximum; a map without colour: nothing there speaks for the class. "
        f"{numbers[0].upper()}{numbers[1:]}. Selvaraju et al. 2017; after the weight-map paper, Fig. 5.",
        f"Grad-CAM heat maps of {len(images)} images, clean and adversarial; {numbers}.",
        png(lambda: draw_gradcam(images, adversarial, before, after, labels, shown.names)),
    )
