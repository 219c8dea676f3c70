"""Smooth functions that approach ReLU (arXiv 2006.14536)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

To = Literal["silu", "gelu", "softplus"]


def smooth_relu(x: Tensor, beta: Tensor | float, to: To) -> Tensor:
    """Return f(β x) / β, which approaches ReLU as β grows.

    Args:
        x: Any shape. β x must be in the range of its type: up to 65,504 in float16.
        beta: β > 0.
        to: f: "silu", "gelu" (exact, not by tanh) or "softplus".

    Returns:
        Like `x`. Softplus is linear where β x > 20, as torch's: an error of at most 2.1e-9 / β.

    Examples:
        >>> import torch
        >>> smooth_relu(torch.tensor([-3.0, 0.0, 3.0]), 100.0, "silu").abs()
        tensor([0., 0., 3.])
    """
    return getattr(functional, to)(x * beta) / beta
