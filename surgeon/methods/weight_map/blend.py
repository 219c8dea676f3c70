"""A weight map that takes a convolution's place bit by bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.weight_map.module import WeightMap2d
from surgeon.tensors.blending import Blending
from surgeon.tensors.instead import Instead
from surgeon.tensors.traced import Proxy, called


class WeightMapBlend(Instead, Blending):
    """(1 − alpha) conv(x) + alpha map(x), until `alpha` is 1 and the convolution is dropped.

    Args:
        conv: The convolution.
        weight_map: The weight map that takes its place.
        alpha: Share of the weight map, in [0, 1].

    Raises:
        LayerError: alpha is outside [0, 1], or below 1 when the convolution is gone.

    Examples:
        >>> conv = nn.Conv2d(3, 8, 3, padding=1)
        >>> layer, x = WeightMapBlend(conv, WeightMap2d(3, 8, (4, 4), 3, padding=1)), torch.rand(1, 3, 4, 4)
        >>> torch.equal(layer(x), conv(x))
        True
        >>> layer.set_alpha(1.0)
        >>> torch.equal(layer(x), layer.map(x)), layer.conv is None
        (True, True)
        >>> finished = WeightMapBlend(conv, layer.map).absent(layer.state_dict(), "")
        >>> sorted(finished)
        ['conv.bias', 'conv.weight']
    """

    traced_whole = True
    """For torch.fx: alpha changes, so that its branches must not be frozen."""
    as_convolution = True
    of_one_size = True
    """For code that looks after the cut: what comes in must keep its size."""
    _ends = ": 0 is the convolution, 1 the weight map alone"
    drops = ("conv",)
    conv: nn.Module | None
    _made_with: float
    """The share that the layer was made with."""

    def __init__(self, conv: nn.Module, weight_map: WeightMap2d, alpha: float = 0.0) -> None:
        super().__init__()
        self.conv = conv
        self.map = weight_map
        self._begin(alpha)
        self._made_with = float(alpha)

    def reset_parameters(self) -> None:
        """Give alpha back the value that the layer was made with; 1 where the convolution was dropped."""
        self.set_alpha(1.0 if self.conv is None else self._made_with)

    def _check_alpha(self, value: float) -> None:
        super()._check_alpha(value)
        if value < 1 and self.conv is None:
            raise LayerError(f"alpha={value} needs the convolution, which was dropped when alpha reached 1")

    def _known(self, value: float) -> None:
        super()._known(value)
        if value == 1:  # also before the children load: a finished map has no convolution
            self.conv = None

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Proxy):
            return called(self, input)
        if self.conv is None:
            return self.map(input)
        old = self.conv(input)
        if self._share.of(self.alpha) == 0:
            return old
        return torch.lerp(old, self.map(input), self.alpha.to(old.dtype))

    def extra_repr(self) -> str:
        return f"alpha={float('nan') if self.alpha.is_meta else float(self.alpha):g}"

    def absent(self, weights: Mapping[str, Tensor], prefix: str) -> set[str]:
        value = weights.get(f"{prefix}alpha")
        if value is None or float(value) != 1 or self.conv is None:
            return set()
        return {f"{prefix}conv.{key}" for key in self.conv.state_dict()}
