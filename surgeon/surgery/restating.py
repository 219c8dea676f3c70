"""What a module that comes back takes over from the one that stood in for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from torch import Tensor, nn


def restate(module: nn.Module, stood_in: nn.Module, around: Iterable[Tensor]) -> nn.Module:
    """`module` with the mode, device, precision and frozenness of `stood_in`, in place; its values are its own.

    A tensor takes after that of the same name, or else after the first of floats of `stood_in` or of `around`. A parameter
    without a namesake, as a kernel is that a weight map replaced, stays frozen if it was, and is frozen where all are that stand in.
    """
    module.train(stood_in.training)
    own = dict(itertools.chain(stood_in.named_parameters(), stood_in.named_buffers()))
    like = next((t for t in itertools.chain(own.values(), around) if t.is_floating_point()), None)
    if like is not None:
        module.to(like.device)
    trained = [p.requires_grad for p in stood_in.parameters()]
    for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
        model = own.get(name, like)
        if model is None:
            continue
        if tensor.is_floating_point() and model.is_floating_point():
            tensor.data = tensor.data.to(model.dtype)
        if isinstance(tensor, nn.Parameter):
            named = own.get(name)
            frozen = not named.requires_grad if named is not None else trained and not any(trained)
            tensor.requires_grad_(not frozen and (named is not None or tensor.requires_grad))
    return module
