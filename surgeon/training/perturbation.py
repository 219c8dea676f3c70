"""Adversarial weight perturbation (Wu et al. 2020): the worst weights near a network's own, for one step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from surgeon.training.two_rounds import noise_layers


def perturbable(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that are perturbed: as in the authors' code, those of more than one axis.

    Biases, parameters of norms, and what a network holds outside of its layers (embeddings of places, class tokens)
    are not perturbed.

    Args:
        model: The network.

    Returns:
        The parameters, each once.
    """
    by_id: dict[int, nn.Parameter] = {}
    for module in model.modules():
        layer = not any(True for _ in module.children())
        for name, p in module.named_parameters(recurse=False):
            own = "weight" in name or name.startswith("original") or (layer and "bias" not in name)
            if p.requires_grad and p.dim() > 1 and own:
                by_id[id(p)] = p
    return list(by_id.values())


@torch.no_grad()
def worst_offsets(
    weights: Sequence[Tensor], gradients: Sequence[Tensor | None], gamma: float
) -> list[Tensor | None]:
    """Return v = γ ‖w‖ g / ‖g‖ of each layer (Wu et al. 2020, eq. 8 and 10, one step from w).

    Args:
        weights: w of each layer.
        gradients: g, the gradient of the loss by w, up to a factor; None where the loss does not reach.
        gamma: γ.

    Returns:
        v like w; None where there is no gradient, or it is 0.
    """
    offsets: list[Tensor | None] = []
    for w, g in zip(weights, gradients, strict=True):
        if g is None:
            offsets.append(None)
            continue
        largest = g.abs().amax()  # first, since squares of tiny gradients would underflow
        unit = g / largest.where(largest != 0, torch.ones_like(largest))
        length = unit.norm()
        offsets.append(unit * (gamma * w.norm() / length.where(length != 0, torch.ones_like(length))))
    return offsets


@contextlib.contextmanager
def moved(weights: Sequence[Tensor], offsets: Sequence[Tensor | None]) -> Iterator[None]:
    """Add offsets to weights; at exit they are what they were, bit for bit.

    Args:
        weights: The weights, changed in place.
        offsets: What is added to each; None for nothing.

    Yields:
        None.
    """
    both = [(w, v) for w, v in zip(weights, offsets, strict=True) if v is not None]
    kept = [w.detach().clone() for w, _ in both]
    try:
        with torch.no_grad():
            for w, v in both:
                w.add_(v)
        yield
    finally:
        with torch.no_grad():
            for (w, _), old in zip(both, kept, strict=True):
                w.copy_(old)


@contextlib.contextmanager
def without_adversarial_noise(model: nn.Module) -> Iterator[None]:
    """Switch adversarial noise layers off: as the gradients of their own, those of the weights are taken at η = 0.

    Args:
        model: The network.

    Yields:
        None.
    """
    layers = noise_layers(model)
    try:
        for layer in layers:
            layer.enabled = False
        yield
    finally:
        for layer in layers:
            layer.enabled = True
