"""k-winners-take-all as a module: the same in training and in evaluation, without tensors of its own."""

from __future__ import annotations

import math

from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.kwta.maths import k_winners, winners
from surgeon.tensors.traced import Proxy, called


class KWinners(nn.Module):
    """Keeps the ⌈share · N⌉ largest of the N numbers of each image; the others become 0.

    Args:
        share: γ in (0, 1].

    Raises:
        LayerError: The share is outside (0, 1]; or, when called, the input has no axis besides the batch.

    Examples:
        >>> import torch
        >>> KWinners(0.5)(torch.tensor([[3.0, -1.0, 2.0, 1.0]]))
        tensor([[3., 0., 2., 0.]])
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise LayerError(f"a share of {share:g} of the activations cannot win; it must be in (0, 1]")
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        if x.dim() < 2:
            raise LayerError(
                f"this layer needs a batch (N, *any) of images; got an input of shape {tuple(x.shape)}"
            )
        return k_winners(x, winners(self.share, math.prod(x.shape[1:])))

    def extra_repr(self) -> str:
        return f"share={self.share:g}"
