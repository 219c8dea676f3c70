"""Gradients of one function for the values of another: BPDA (Athalye et al. 2018, arXiv 1802.00420)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Through(torch.autograd.Function):
    """The value of the first, with the gradient of the second."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, differentiable: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, gradients[0]


def through(value: Tensor, differentiable: Tensor) -> Tensor:
    """Return `value`, bit for bit, whose gradient flows into `differentiable` as if it were that.

    Args:
        value: Any tensor; no gradient flows into it.
        differentiable: A tensor of the same shape.
    """
    joined: Tensor = _Through.apply(value.detach(), differentiable)
    return joined
