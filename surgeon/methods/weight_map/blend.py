"""A weight map that takes a convolution's place bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.weight_map.module import WeightMap2d
from surgeon.tensors.emptied import Emptied
from surgeon.tensors.known_value import KnownValue
from surgeon.tensors.traced import Proxy, called


class WeightMapBlend(Emptied):
    """(1 − alpha) conv(x) + alpha map(x), until `alpha` is 1 and the convolution is dropped.

    Input (N, C_in, H, W), output (N, C_out, H_out, W_out), the same of both. At alpha = 0 it is the convolution, whose
    weights are the child `conv`; the map is the child `map`.
    Here: the paper trains from scratch; annealing is ours. `alpha` is a buffer, saved with the weights.

    Raises LayerError for alpha outside [0, 1], and for one below 1 when the convolution is gone.
    """

    traced_whole = True
    """For torch.fx: alpha changes, so that its branches must not be frozen."""
    alpha: Tensor
    conv: nn.Module | None
    _made_with: float = 0.0
    """The share that the layer was made with; of a layer from an older file, what most have."""

    def __init__(self, conv: nn.Module, weight_map: WeightMap2d, alpha: float = 0.0) -> None:
        super().__init__()
        self.conv = conv
        self.map = weight_map
        self.register_buffer("alpha", torch.zeros((), dtype=torch.float32))
        self._share = KnownValue(0.0)
        self.set_alpha(alpha)
        self._made_with = float(alpha)

    def reset_parameters(self) -> None:
        """Give alpha back the value that the layer was made with; 1 where the convolution was dropped."""
        self.set_alpha(1.0 if self.conv is None else self._made_with)

    def set_alpha(self, value: float) -> None:
        """Set the map's share; at 1 the convolution is dropped for good."""
        if not 0 <= value <= 1:
            raise LayerError(f"alpha={value} is outside [0, 1]: 0 is the convolution, 1 the weight map alone")
        if value < 1 and self.conv is None:
            raise LayerError(f"alpha={value} needs the convolution, which was dropped when alpha reached 1")
        self.alpha.fill_(value)
        self._share.set(self.alpha, float(value))
        self.filled("alpha")
        if value == 1:
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

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)
        value = state_dict.get(f"{prefix}alpha")
        if value is None or self.alpha.is_meta:
            return
        try:
            self.set_alpha(float(value))  # before the children load: a finished map has no convolution
        except LayerError as fault:
            errors.append(f"{prefix}alpha: {fault}")
