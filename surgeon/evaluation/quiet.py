"""A model held still while it is attacked, and put back afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def held_still(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Evaluation mode, frozen weights, TF32 off, and a random stream of its own that starts at `seed`.

    Every module's `.training`, every parameter's `requires_grad` and the random states come back as they
    were, also on an error and whatever an attack does meanwhile.
    """
    modes = [(m, m.training) for m in model.modules()]
    grads = [(p, p.requires_grad) for p in model.parameters()]
    devices = sorted(
        {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    )
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)  # type: ignore[attr-defined]  # modules made at run time
    precisions = [s.fp32_precision for s in switches]
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            model.eval()
            for p, _ in grads:
                p.requires_grad_(False)
            for switch in switches:
                switch.fp32_precision = "ieee"
            yield
    finally:
        for switch, precision in zip(switches, precisions, strict=True):
            switch.fp32_precision = precision
        for m, training in modes:
            m.training = training
        for p, needed in grads:
            p.requires_grad_(needed)
