"""Bring a restored module into the state of the module that replaced it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from torch import Tensor, nn


def restate(module: nn.Module, stood_in: nn.Module, around: Iterable[Tensor]) -> nn.Module:
    """Give a module the mode, device, precision and frozenness of another, in place; its values are its own.

    Each tensor follows the tensor of the same name, or the first floating-point tensor of `stood_in` or of
    `around`. A parameter without a namesake, such as the kernel that a weight map replaced, is frozen
    if all those of `stood_in` that have no value either (the map's `maps`) are.

    Args:
        module: The module that is restored.
        stood_in: The module that replaced it.
        around: Other tensors of the network.

    Returns:
        `module`.
    """
    module.train(stood_in.training)
    own = dict(itertools.chain(stood_in.named_parameters(), stood_in.named_buffers()))
    like = next((t for t in itertools.chain(own.values(), around) if t.is_floating_point()), None)
    if like is not None:
        module.to(like.device)
    names = {n for n, _ in module.named_parameters()}
    others = [p for n, p in stood_in.named_parameters() if n not in names] or list(stood_in.parameters())
    for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
        model = own.get(name, like)
        if model is None:
            continue
        if tensor.is_floating_point() and model.is_floating_point():
            tensor.data = tensor.data.to(model.dtype)
        if isinstance(tensor, nn.Parameter):
            named = own.get(name)
            like_it = others if named is None else [named]
            if like_it:
                tensor.requires_grad_(any(p.requires_grad for p in like_it))
    return module
