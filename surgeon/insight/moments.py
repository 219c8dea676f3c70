"""What a layer does to the variance of its input, and how wide its output spreads, over any number of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.host import in_own_state
from surgeon.insight.door import seen_by
from surgeon.insight.listening import layers, network_of
from surgeon.models.quiet import held_still

BATCH = 64


class Moments(NamedTuple):
    """The spread of a layer's activations over images, in the square of their unit and in their unit.

    Attributes:
        input_variance: The mean over the input's indices (C, H, W) of the variance over the images.
        variance: The same of the output.
        deviation: The standard deviation of the output over images, channels and space.
    """

    input_variance: float
    variance: float
    deviation: float

    @property
    def amplification(self) -> float:
        """The output's variance over the input's, without unit; infinite for an input that does not vary."""
        return self.variance / self.input_variance if self.input_variance else float("inf")


@in_own_state()
@torch.no_grad()
def moments_by_layer(model: nn.Module, images: Tensor, *, seed: int = 0) -> dict[str, Moments]:
    """Measure the variance of each layer's input and output over the images, in evaluation mode.

    Variances are taken index by index over the images, as Var[x_ij] of the weight map paper (arXiv 1905.00568, eq. 5),
    and then averaged; they are divided by N. The deviation is s(h) of the adversarial noise layer (arXiv 1805.08000,
    eq. 4 and Fig. 2). A layer is a convolution, weight map, norm or linear layer; what a surgery inserted behind it
    belongs to its output. A layer that is called several times counts with its first call.

    Args:
        model: Takes [0, 1] pixels.
        images: (N, C, H, W) in [0, 1].
        seed: Seed for a model that is random.

    Returns:
        Layer → its moments, in execution order.

    Raises:
        DataError: There are no images.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight.moments import moments_by_layer
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 2))
        >>> _ = nn.init.constant_(model[0].weight, 3.0)
        >>> round(moments_by_layer(model, torch.rand(8, 1, 2, 2))["0"].amplification, 4)
        9.0
    """
    if isinstance(images, Tensor) and len(images) == 0:
        raise DataError("there are no images to take variances over")
    network, images = network_of(model), seen_by(model, images)
    layer_of = layers(network)
    total: _Heard = {}
    for start in range(0, len(images), BATCH):
        heard: _Heard = {}
        handles = [
            network.get_submodule(name).register_forward_hook(_hook(name, layer, heard))
            for name, layer in layer_of.items()
        ]
        try:
            with held_still(model, seed):
                model(images[start : start + BATCH])
        finally:
            for handle in handles:
                handle.remove()
        for layer, (inputs, outputs) in heard.items():
            before = total.get(layer)
            total[layer] = (inputs, outputs) if before is None else (before[0] + inputs, before[1] + outputs)
    return {
        layer: Moments(inputs.variance, outputs.variance, outputs.deviation)
        for layer, (inputs, outputs) in total.items()
    }


class _Sums:
    """Count, sum and sum of squares over images, in float64, index by index."""

    def __init__(self, n: int, first: Tensor, second: Tensor) -> None:
        self.n, self.first, self.second = n, first, second

    @classmethod
    def of(cls, value: Tensor) -> _Sums:
        wide = value.detach().double()
        return cls(len(wide), wide.sum(0), wide.square().sum(0))

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.n + other.n, self.first + other.first, self.second + other.second)

    @property
    def variance(self) -> float:
        """The mean over the indices of the variance over the images."""
        return float((self.second / self.n - (self.first / self.n).square()).clamp_min(0).mean())

    @property
    def deviation(self) -> float:
        """The standard deviation of all entries."""
        mean = self.first.mean() / self.n
        return float((self.second.mean() / self.n - mean.square()).clamp_min(0).sqrt())


_Heard = dict[str, tuple[_Sums, _Sums]]


def _hook(name: str, layer: str, heard: _Heard) -> Callable[..., None]:
    """Keep a module's first call: its input where it is the layer, its output where it ends the layer so far."""
    called = False

    def take(_module: nn.Module, given: tuple[object, ...], output: object) -> None:
        nonlocal called
        if called or not isinstance(output, Tensor):
            return
        called = True
        if name == layer and given and isinstance(given[0], Tensor):
            heard[layer] = (_Sums.of(given[0]), _Sums.of(output))
        elif layer in heard:
            heard[layer] = (heard[layer][0], _Sums.of(output))

    return take
