"""Outputs whose gradient a layer wants to see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def hooked(out: Tensor, keep: Callable[[Tensor], None]) -> Tensor:
    """`out` with `keep` called on its gradient; one that needs none (an input image) is made to need it."""
    if not torch.is_grad_enabled():
        return out
    leaf = not out.requires_grad
    if leaf:
        out.requires_grad_()
    out.register_hook(keep)
    return out.clone() if leaf else out
