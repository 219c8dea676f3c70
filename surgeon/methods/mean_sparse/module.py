"""MeanSparse as the module to insert: the same in training and in evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.mean_sparse.maths import mean_sparse
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.traced import Proxy, called


class MeanSparsification(OptionalState):
    """Replaces activations within α σ of their channel's mean by the mean.

    `mean` and `deviation`, (C,), and `alpha`, (), are persistent buffers. As made, with deviation 0, the layer
    changes nothing; `surgeon.apply` takes the statistics from calibration images.

    Args:
        channels: Number of channels C.
        axis: Axis of the channels in the input: 1 in (N, C, H, W), -1 in (N, L, C).
        alpha: α ≥ 0.

    Examples:
        >>> import torch
        >>> layer = MeanSparsification(1, alpha=0.5)
        >>> layer.set_statistics(torch.ones(1), torch.ones(1))
        >>> layer(torch.tensor([[0.0], [0.9], [2.0]])).flatten().tolist()
        [0.0, 1.0, 2.0]
    """

    mean: Tensor
    deviation: Tensor
    alpha: Tensor

    def __init__(self, channels: int, axis: int = 1, alpha: float = 0.0) -> None:
        super().__init__()
        self.channels, self.axis = channels, axis
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.zeros(channels))
        self.register_buffer("alpha", torch.tensor(float(alpha)))

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Set mean and deviation.

        Args:
            mean: (C,).
            deviation: (C,), not negative.

        Raises:
            LayerError: They have another shape.
        """
        for name, value in (("mean", mean), ("deviation", deviation)):
            if value.shape != (self.channels,):
                raise LayerError(
                    f"{name} of shape {tuple(value.shape)} does not fit; expected ({self.channels},)"
                )
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)
        self.filled("mean", "deviation")

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        if x.dim() < 2 or x.shape[self.axis] != self.channels:
            raise LayerError(
                f"this layer is of {self.channels} channels in axis {self.axis}, got an input of shape {tuple(x.shape)}"
            )
        mean, threshold = self.mean, self.alpha * self.deviation
        if self.axis != -1 and x.dim() > 2:
            shape = (-1, *[1] * (x.dim() - 2))
            mean, threshold = mean.view(shape), threshold.view(shape)
        return mean_sparse(x, mean.to(x.dtype), threshold.to(x.dtype))

    def extra_repr(self) -> str:
        return f"{self.channels}, axis={self.axis}"
