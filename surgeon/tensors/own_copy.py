"""A module once more, with tensors of its own."""

from __future__ import annotations

import copy

from torch import nn


def own_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module whose parameters and buffers are its own; children are shared.

    Args:
        module: The module, which is left untouched.

    Returns:
        The copy. Parameters are frozen as those of the module.
    """
    new = copy.copy(module)
    new._parameters = {
        k: None if p is None else nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad)
        for k, p in module._parameters.items()
    }
    new._buffers = {k: None if b is None else b.clone() for k, b in module._buffers.items()}
    new._modules = dict(module._modules)
    return new
