"""The equation of k-winners-take-all (arXiv 1905.10510)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from surgeon.tensors.recording import exporting


def winners(share: float, numbers: int) -> int:
    """Return k = ⌈share · numbers⌉.

    Args:
        share: γ in (0, 1].
        numbers: N ≥ 1.

    Returns:
        k, from 1 to N. The product's rounding does not count: 0.1 of 30 are 3.

    Examples:
        >>> winners(0.1, 30), winners(0.1, 31), winners(0.1, 1)
        (3, 4, 1)
    """
    count: Any = numbers
    if isinstance(count, Tensor):  # as torch.jit.trace has sizes: the result must be one too, and as exact
        return (count.double() * share * (1 - 1e-12)).ceil().long()  # type: ignore[return-value]
    return math.ceil(share * numbers * (1 - 1e-12))


def k_winners(x: Tensor, k: int) -> Tensor:
    """Keep the k largest numbers of each image and set the others to 0.

    Args:
        x: (N, *any) activations.
        k: From 1 to the numbers of one image.

    Returns:
        Like `x`. Numbers equal to the k-th largest stay too, and NaN stays NaN.

    Examples:
        >>> import torch
        >>> k_winners(torch.tensor([[0.5, -1.0, 2.0, 1.0]]), 2)
        tensor([[0., 0., 2., 1.]])
    """
    flat = x.detach().flatten(1)
    # What is recorded for other sizes too must not branch on them; the rest computes the same.
    if not (torch.jit.is_tracing() or exporting()) and k == flat.shape[1]:
        return x
    least = flat.topk(k, dim=1, sorted=False).values.amin(1)
    return x.masked_fill(x < least.view(-1, *[1] * (x.dim() - 1)), 0)
