"""One learned map that multiplies the input of a network: the input-scale control of the weight map paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.resize import resized_parameter, warn_resized
from surgeon.tensors.traced import Proxy, called


class InputScale(OptionalState):
    """Multiplies an input (N, C, H, W) by a learned map `weight` (C, H, W), ones at the start: the identity.

    Args:
        channels: C.
        height: H.
        width: W.

    Raises:
        LayerError: A size is below 1; in forward, the input has another size, to which `resize` interpolates.

    Examples:
        >>> import torch
        >>> layer = InputScale(1, 2, 2)
        >>> layer(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).flatten().tolist()
        [1.0, 2.0, 3.0, 4.0]
        >>> layer.resize(4, 4)
        InputScale(1x4x4)
    """

    of_one_size = True
    """For code that looks after the cut: what comes in must keep its size."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        if min(channels, height, width) < 1:
            raise LayerError(
                f"an input scale of {channels}x{height}x{width} is empty; every size must be at least 1"
            )
        self.weight = nn.Parameter(torch.ones(channels, height, width))

    def reset_parameters(self) -> None:
        """Ones: the identity."""
        nn.init.ones_(self.weight)
        self.filled("weight")

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        if x.shape[1:] != self.weight.shape:
            raise LayerError(
                f"the input scale is {_show(self.weight.shape)}, got an input of shape {tuple(x.shape)}; "
                f"expected (N, {', '.join(map(str, self.weight.shape))}), or resize(H, W)"
            )
        return x * self.weight

    def resize(self, height: int, width: int) -> InputScale:
        """Interpolate the map to (C, height, width), in place, as a new parameter; a warning is issued.

        Args:
            height: New height of the input.
            width: New width of the input.

        Returns:
            The layer itself.
        """
        _, *old = self.weight.shape
        self.weight = resized_parameter(self.weight, height, width)
        warn_resized("input scale", (old[0], old[1]), (height, width))
        return self

    def extra_repr(self) -> str:
        return _show(self.weight.shape)


def _show(shape: torch.Size) -> str:
    return "x".join(map(str, shape))
