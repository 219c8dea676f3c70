"""Hooks on the gradients of outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def hooked(out: Tensor, keep: Callable[[Tensor], None]) -> Tensor:
    """Return an output whose gradient is passed to a function.

    Args:
        out: The output. If it requires no gradient (an input image), it is made to require one.
        keep: Called with the gradient in the backward pass.

    Returns:
        `out`, or a copy of it.
    """
    if not torch.is_grad_enabled():
        return out
    leaf = not out.requires_grad
    if leaf:
        out.requires_grad_()
    out.register_hook(keep)
    return out.clone() if leaf else out
