"""Inference speed on this machine, to be compared within one run only."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgeon.evaluation.engine.scoring import device_of
from surgeon.models.quiet import held_still

BATCH = 64


def images_per_second(models: Sequence[nn.Module], images: Tensor, *, repeats: int = 5) -> list[float]:
    """Images a second of each model, taken in turns: of `repeats` rounds the fastest. images: (N, C, H, W) as they take them."""
    found = [0.0] * len(models)
    for _ in range(repeats + 1):
        for k, model in enumerate(models):
            x = images[:BATCH].to(device_of(model))
            with held_still(model), torch.no_grad():
                _wait(x)
                began = time.perf_counter()
                model(x)
                _wait(x)
                found[k] = max(found[k], len(x) / (time.perf_counter() - began))
    return found


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
