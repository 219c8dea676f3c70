"""Squeeze-and-excitation as the module to insert: the same in training and in evaluation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.squeeze_excite.maths import squeeze_excite
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.traced import Proxy, called


class SqueezeExcite(OptionalState):
    """Weighs each channel by a small network on the means of all channels; as made, every weight is 1.

    Args:
        channels: C.
        hidden: Numbers between the two layers of the small network.
        axes: Number of spatial axes.

    Examples:
        >>> layer, x = SqueezeExcite(4, 4), torch.rand(2, 4, 3, 3)
        >>> torch.equal(layer(x), x)
        True
    """

    def __init__(self, channels: int, hidden: int, axes: int = 2) -> None:
        super().__init__()
        self.channels, self.axes = channels, axes
        self.squeeze = nn.Parameter(torch.empty(hidden, channels))
        self.squeeze_bias = nn.Parameter(torch.empty(hidden))
        self.excite = nn.Parameter(torch.empty(channels, hidden))
        self.excite_bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first layer's weights (He et al. 2015), and set all others to 0."""
        nn.init.kaiming_normal_(self.squeeze)
        for rest in (self.squeeze_bias, self.excite, self.excite_bias):
            nn.init.zeros_(rest)
        self.filled()

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        if x.dim() <= self.axes or x.shape[-self.axes - 1] != self.channels:
            raise LayerError(
                f"this layer weighs {self.channels} channels with {self.axes} spatial axes, got an input of shape "
                f"{tuple(x.shape)}"
            )
        return squeeze_excite(x, self.squeeze, self.squeeze_bias, self.excite, self.excite_bias, self.axes)

    def extra_repr(self) -> str:
        return f"{self.channels}, hidden={len(self.squeeze_bias)}, axes={self.axes}"
