"""The equation of squeeze-and-excitation (arXiv 1709.01507)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear


def squeeze_excite(
    x: Tensor, squeeze: Tensor, squeeze_bias: Tensor, excite: Tensor, excite_bias: Tensor, axes: int
) -> Tensor:
    """Weigh channels by 2 σ(W₂ max(0, W₁ z + b₁) + b₂), z being their means over all positions.

    Args:
        x: (N, C, *spatial) or (C, *spatial).
        squeeze: W₁, (hidden, C).
        squeeze_bias: b₁, (hidden,).
        excite: W₂, (C, hidden).
        excite_bias: b₂, (C,).
        axes: Number of spatial axes, 1 or more.

    Returns:
        Like `x`.

    Examples:
        >>> import torch
        >>> one, zero = torch.ones(1, 1), torch.zeros(1)
        >>> squeeze_excite(torch.tensor([[[1.0, 3.0]]]), one, zero, 0 * one, zero, 1)
        tensor([[[1., 3.]]])
    """
    means = x.mean(tuple(range(-axes, 0)))
    hidden = linear(means, squeeze, squeeze_bias).relu()
    weights = 2 * linear(hidden, excite, excite_bias).sigmoid()
    return x * weights.to(x.dtype)[(..., *[None] * axes)]
