"""How alike the gradients of images of one class, and of different classes, are at a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.errors import ArgumentError, DataError, nearest
from surgeon.host import in_own_state
from surgeon.insight.door import check_labels, seen_by
from surgeon.insight.listening import layers, network_of
from surgeon.models.quiet import held_still

BATCH = 64


@in_own_state()
def gradient_similarity(
    model: nn.Module, images: Tensor, labels: Tensor, *, layer: str, classes: int | None = None, seed: int = 0
) -> Tensor:
    """Measure the mean cosine between gradients of the loss by a layer's output, class by class.

    The gradients are of each image's own cross-entropy, in evaluation mode ("Adversarial Noise Layer",
    arXiv 1805.08000, Table 1 and eq. 5; its division by the largest component leaves the cosine as it is). A pair of an
    image with itself does not count, and an image whose gradient is zero has no direction and is left out.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        layer: Name of a convolution, weight map, norm or linear layer; what a surgery inserted behind it belongs to it.
        classes: Number of classes K. Default: the largest label and one.
        seed: Seed for a model that is random.

    Returns:
        (K, K) float64, symmetric. NaN where there are no two images to compare.

    Raises:
        ArgumentError: The model has no such layer; or there are labels of more than `classes`.
        DataError: There are no images, or not as many labels; the layer is not called, or no logit depends on it.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight.similarity import gradient_similarity
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images, labels = torch.rand(6, 1, 2, 2), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> [[round(float(v), 4) for v in row] for row in gradient_similarity(model, images, labels, layer="1")]
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    images = seen_by(model, images)
    check_labels(labels, images)
    number = classes or int(labels.max()) + 1
    if int(labels.max()) >= number:
        raise ArgumentError(f"classes={number}, and there are labels up to {int(labels.max())}")
    network = network_of(model)
    ends = {site: name for name, site in layers(network).items()}
    if layer not in ends:
        raise ArgumentError(f"{type(network).__name__} has no layer {layer!r}; {nearest(layer, ends)}")
    sums, counts = None, torch.zeros(number, dtype=torch.float64)
    for start in range(0, len(images), BATCH):
        y = labels[start : start + BATCH]
        unit, there = _directions(
            model, network.get_submodule(ends[layer]), layer, images[start : start + BATCH], y, seed
        )
        if sums is None:
            sums = torch.zeros(number, unit.shape[1], dtype=torch.float64)
        sums.index_add_(0, y.cpu(), unit)
        counts.index_add_(0, y.cpu(), there.double())
    assert sums is not None
    # The sum over all pairs of two classes is the product of their sums.
    pairs, products = counts[:, None] * counts[None, :] - counts.diag(), sums @ sums.T - counts.diag()
    return torch.where(pairs > 0, products / pairs, torch.nan)


def _directions(
    model: nn.Module, module: nn.Module, layer: str, images: Tensor, labels: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """(N, activations) of unit length in float64 on the CPU, zeros where the gradient is; and where it is not."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: object) -> Tensor | None:
        if kept or not isinstance(output, Tensor):
            return None
        kept.append(output)
        return output.clone()  # an activation behind it may write into its input

    handle = module.register_forward_hook(keep)
    try:
        with held_still(model, seed), torch.enable_grad():
            logits = model(
                images.detach().requires_grad_().clone()
            )  # which the network's code may write into
            loss = nn.functional.cross_entropy(logits, labels.to(logits.device), reduction="sum")
    finally:
        handle.remove()
    if not kept or not kept[0].requires_grad:
        raise DataError(f"the layer {layer!r} is not called on images, so it has no gradient")
    (gradient,) = torch.autograd.grad(loss, kept, allow_unused=True)
    if gradient is None:
        raise DataError(f"the logits do not depend on the layer {layer!r}, so it has no gradient")
    flat = gradient.flatten(1).double().cpu()
    length = flat.norm(dim=1, keepdim=True)
    return torch.where(length > 0, flat / length.clamp_min(1e-300), 0.0), length.flatten() > 0
