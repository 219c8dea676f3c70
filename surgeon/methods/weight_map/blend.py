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

    Input (N, C_in, H, W), output (N, C_out, H_out, W_out), the same of both. At alpha = 0 it is the convolution, whose
    weights are the child `conv`; the map is the child `map`.
    Here: the paper trains from scratch; annealing is ours. `alpha` is a buffer, saved with the weights.

    Raises LayerError for alpha outside [0, 1], and for one below 1 when the convolution is gone.
    """

    traced_whole = True
    """For torch.fx: alpha changes, so that its branches must not be frozen."""
    of_one_size = True
    """For code that looks after the cut: what comes in must keep its size."""
    _ends = ": 0 is the convolution, 1 the weight map alone"
    conv: nn.Module | None
    _made_with: float = 0.0
    """The share that the layer was made with; of a layer from an older file, what most have."""

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
        """The keys of this layer that a state dict lacks by right: those of the convolution, once it was dropped."""
        value = weights.get(f"{prefix}alpha")
        if value is None or float(value) != 1 or self.conv is None:
            return set()
        return {f"{prefix}conv.{key}" for key in self.conv.state_dict()}
