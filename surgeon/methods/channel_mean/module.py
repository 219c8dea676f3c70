"""DropChannel-Mean as the module to insert: the same in training and in evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.channel_mean.maths import least_varying
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.traced import Proxy, called


class ConstantChannels(OptionalState):
    """Replaces the k channels that varied least by their mean.

    `mean`, (C,) float, and `chosen`, (C,) bool, are persistent buffers. As made no channel is chosen and the layer
    changes nothing; `surgeon.apply` takes the statistics from calibration images.

    Args:
        channels: Number of channels C.
        count: k, from 0 to C.

    Examples:
        >>> import torch
        >>> layer = ConstantChannels(2, 1)
        >>> layer.set_statistics(torch.tensor([5.0, 6.0]), torch.tensor([0.1, 2.0]))
        >>> layer(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[5.0, 2.0], [5.0, 4.0]]
    """

    mean: Tensor
    chosen: Tensor

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.channels, self.count = channels, count
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("chosen", torch.zeros(channels, dtype=torch.bool))

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Choose the channels.

        Args:
            mean: (C,).
            variance: (C,), not negative.

        Raises:
            LayerError: They have another shape.
        """
        for name, value in (("mean", mean), ("variance", variance)):
            if value.shape != (self.channels,):
                raise LayerError(
                    f"{name} of shape {tuple(value.shape)} does not fit; expected ({self.channels},)"
                )
        self.mean.copy_(mean)
        self.chosen.copy_(least_varying(variance, self.count))
        self.filled("mean", "chosen")

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise LayerError(
                f"this layer is of {self.channels} channels in axis 1, got an input of shape {tuple(x.shape)}"
            )
        shape = (-1, *[1] * (x.dim() - 2))
        return self.mean.to(x.dtype).view(shape).where(self.chosen.view(shape), x)

    def extra_repr(self) -> str:
        return f"{self.channels}, count={self.count}"
