"""Accuracy under random noise: curves over its level, and noise at inference on adversarial images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.arguments import checked_count, checked_number, checked_seed
from surgeon.errors import ArgumentError
from surgeon.evaluation.engine.admission import admitted
from surgeon.evaluation.engine.scoring import score
from surgeon.graph.trees.paths import has
from surgeon.host import in_own_state
from surgeon.methods.registry import parse
from surgeon.models.quiet import held_still
from surgeon.quantities import too_large
from surgeon.results.assessment import NoiseRow
from surgeon.results.statistics import wilson
from surgeon.strict import shown
from surgeon.surgery.door import surgery_of
from surgeon.tensors.instead import convolves
from surgeon.warned import warn


@in_own_state()
def noise_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    levels: Sequence[float],
    *,
    kind: Literal["gaussian", "uniform"] = "gaussian",
    draws: int = 3,
    seed: int = 0,
) -> list[float]:
    """Measure accuracy at each level of random noise on the pixels.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        levels: Noise levels in [0, 1] pixels; of Gaussian noise at most 1.
        kind: "gaussian": x + N(0, level²), clipped to [0, 1]. "uniform": (x + U(0, level)) / (1 + level), as
            in the weight-map paper.
        draws: Draws that the accuracy is averaged over.
        seed: Seed of the noise.

    Returns:
        The mean accuracy at each level, in [0, 1].

    Raises:
        ArgumentError: An unknown kind, or an invalid level, number of draws or seed.
        DataError: Images or labels do not fit.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.evaluation import noise_accuracy
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
        >>> images, labels = torch.rand(6, 3, 4, 4), torch.arange(6) % 3
        >>> len(noise_accuracy(model, images, labels, [0.0, 0.1], draws=1))
        2
    """
    if kind not in ("gaussian", "uniform"):
        raise ArgumentError(f"noise {kind!r} is not known; 'gaussian' and 'uniform' are")
    draws, seed = checked_count("draws", draws), checked_seed(seed)
    if not isinstance(levels, Iterable):
        raise ArgumentError(f"levels={shown(levels)} is one level; give a list, such as [{shown(levels)}]")
    levels = [checked_number("a noise level", level) for level in levels]
    if kind == "gaussian" and max(levels, default=0) > 1:
        raise ArgumentError(too_large("a noise level", max(levels), "of noise on pixels"))
    images, labels, _ = admitted(model, images, labels, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    accuracies = []
    with held_still(model, seed):
        for level in levels:
            right = 0
            for _ in range(draws):
                if kind == "gaussian":
                    noisy = (images + level * torch.randn(images.shape, generator=generator)).clamp(0, 1)
                else:
                    noisy = (images + level * torch.rand(images.shape, generator=generator)) / (1 + level)
                right += int((score(model, noisy, labels).prediction == labels).sum())
            accuracies.append(right / (draws * len(labels)))
    return accuracies


@in_own_state()
def noise_table(
    model: nn.Module, images: Tensor, labels: Tensor, *, sigma: float = 0.1, seed: int = 0
) -> tuple[NoiseRow, ...]:
    """Measure accuracy with Gaussian noise at inference on the input, the activations, both and neither.

    This is Table 2 of the KAP paper. Activation noise is added where the paper's models have it: after each
    pooling layer, or after each convolution without one.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) float32 in [0, 1], usually adversarial images.
        labels: (N,) true classes.
        sigma: Standard deviation of the noise, at most 1: in [0, 1] pixels at the input and in the unit of the
            activations inside.
        seed: Seed of the noise.

    Returns:
        Four rows: activations without and with noise, and for each the input without and with noise. A network without
        convolutions has the two rows without noise on activations.

    Raises:
        ArgumentError: An invalid sigma or seed.
        DataError: Images or labels do not fit.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.evaluation import noise_table
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 3))
        >>> images, labels = torch.rand(6, 3, 4, 4), torch.arange(6) % 3
        >>> [(row.activation_noise, row.input_noise) for row in noise_table(model, images, labels)]
        [(False, False), (False, True), (True, False), (True, True)]
    """
    sigma, seed = checked_number("sigma", sigma), checked_seed(seed)
    if sigma > 1:
        raise ArgumentError(too_large("sigma", sigma, "of noise on pixels"))
    images, labels, _ = admitted(model, images, labels, seed=seed)
    rows = []
    inside = any(True for _ in _convolutions(model))
    if not inside:
        warn("noise on activations is left out: it is added behind convolutions, and this network has none")
    for activations in (False, True)[: 1 + inside]:
        for inputs in (False, True):
            with held_still(model, seed), _noisy_activations(model, sigma if activations else 0.0):
                x = (images + sigma * torch.randn(images.shape)).clamp(0, 1) if inputs else images
                right = int((score(model, x, labels).prediction == labels).sum())
            rows.append(
                NoiseRow(
                    input_noise=inputs,
                    activation_noise=activations,
                    sigma=sigma,
                    share=wilson(right, len(labels)),
                )
            )
    return tuple(rows)


@contextlib.contextmanager
def _noisy_activations(model: nn.Module, sigma: float) -> Iterator[None]:
    """Add Gaussian noise after each convolution, or after the inserted layer that ends its site."""
    if sigma == 0:
        yield
        return
    ends: dict[nn.Module, nn.Module] = {}
    for inner in model.modules():
        if (record := surgery_of(inner)) is None:
            continue
        for edit in record.edits:
            ends_site = parse(record.operations[edit.operation]).ends_its_site
            if edit.layer and ends_site and has(inner, edit.site):
                ends[inner.get_submodule(edit.site)] = inner.get_submodule(edit.layer)
    places = [ends.get(m, m) for m in _convolutions(model)]
    handles = [
        m.register_forward_hook(lambda _m, _i, out: out + sigma * torch.randn_like(out)) for m in places
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _convolutions(module: nn.Module) -> Iterator[nn.Module]:
    """Every convolution once, and every layer in the place of one, without what that has inside."""
    seen: set[nn.Module] = set()
    for inner in module.modules():
        if convolves(inner) and inner not in seen:
            seen.update(inner.modules())
            yield inner
