"""The equations of parametric noise injection (arXiv 1811.09310)."""

from __future__ import annotations

from torch import Tensor


def spread(v: Tensor, *, each: bool = False) -> Tensor:
    """Return σ, the population standard deviation, without a gradient.

    Args:
        v: Any shape.
        each: One for each v[i], in a shape that broadcasts with `v`, instead of one for all numbers.

    Returns:
        (), or (N, 1, ...).

    Examples:
        >>> import torch
        >>> v = torch.tensor([[1.0, 3.0], [0.0, 8.0]])
        >>> spread(v, each=True)
        tensor([[1.],
                [4.]])
    """
    still = v.detach()
    if not each:
        return still.std(correction=0)
    return still.flatten(1).std(1, correction=0).view(-1, *[1] * (v.dim() - 1))


def parametric_noise(v: Tensor, alpha: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Return v + α η, with η = σ · noise.

    Args:
        v: Any shape.
        alpha: α, ().
        sigma: σ, which broadcasts with `v`.
        noise: Numbers of N(0, 1), like `v`.

    Returns:
        Like `v`. The gradient is 1 for v and η for α.

    Examples:
        >>> import torch
        >>> v = torch.tensor([1.0, 3.0])
        >>> parametric_noise(v, torch.tensor(0.5), spread(v), torch.tensor([2.0, -2.0]))
        tensor([2., 2.])
    """
    return v + alpha * (sigma * noise)
