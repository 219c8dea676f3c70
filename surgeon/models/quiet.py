"""Freeze a model while it is attacked, and restore it afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.host import full_precision
from surgeon.kept_modes import modes_kept


@contextlib.contextmanager
def held_still(model: nn.Module, seed: int = 0, *, copies: bool = True) -> Iterator[None]:
    """Inside: evaluation mode, frozen weights, full-precision products, and a separate random stream.

    Every module's `training`, every parameter's `requires_grad` and the random states are restored
    afterwards, also on an error and whatever an attack does meanwhile.

    A model may write into its input (`x.mul_(2)`, an activation in place as its first layer). Each call of it gets a
    copy, so that images are the same at the next call, and remain the caller's.

    Args:
        model: the model.
        seed: start of the random stream.
        copies: whether calls get a copy; False where the caller gives each call one, as for a measurement of time.
    """
    grads = [(p, p.requires_grad) for p in model.parameters()]
    devices = sorted(
        {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    )
    # A hook, since attacks of other packages call the model too; first, as hooks of the caller's may write as well.
    # Through the base class, as scripted modules forbid their own method.
    register = nn.Module.register_forward_pre_hook
    handle = register(model, _own_input, prepend=True) if copies else None
    try:
        with modes_kept(model), torch.random.fork_rng(devices=devices), full_precision():
            torch.manual_seed(seed)
            model.eval()
            for p, _ in grads:
                # Attacks ask for gradients of images; those of weights would cost time and memory for nothing.
                p.requires_grad_(False)
            yield
    finally:
        if handle is not None:
            handle.remove()
        for p, needed in grads:
            p.requires_grad_(needed)


def _own_input(_model: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in args)
