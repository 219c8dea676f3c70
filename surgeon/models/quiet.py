"""Freeze a model while it is attacked, and restore it afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from surgeon.host import full_precision
from surgeon.kept_modes import modes_kept


@contextlib.contextmanager
def held_still(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Inside: evaluation mode, frozen weights, full-precision products, and a separate random stream.

    Every module's `training`, every parameter's `requires_grad` and the random states are restored
    afterwards, also on an error and whatever an attack does meanwhile.

    Args:
        model: the model.
        seed: start of the random stream.
    """
    grads = [(p, p.requires_grad) for p in model.parameters()]
    devices = sorted(
        {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    )
    try:
        with modes_kept(model), torch.random.fork_rng(devices=devices), full_precision():
            torch.manual_seed(seed)
            model.eval()
            for p, _ in grads:
                # Attacks ask for gradients of images; those of weights would cost time and memory for nothing.
                p.requires_grad_(False)
            yield
    finally:
        for p, needed in grads:
            p.requires_grad_(needed)
