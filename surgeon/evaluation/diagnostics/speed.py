"""Inference speed on this machine; compare only numbers of the same run."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgeon.evaluation.engine.scoring import device_of
from surgeon.models.quiet import held_still

BATCH = 64


def images_per_second(models: Sequence[nn.Module], images: Tensor, *, repeats: int = 5) -> list[float]:
    """Measure inference speed, with the models taking turns.

    Args:
        models: Networks.
        images: (N, C, H, W) normalised as the networks expect them; the first 64 are one batch.
        repeats: Rounds, of which the fastest counts; one more round before them warms up.

    Returns:
        Images per second of each model.
    """
    fastest = [0.0] * len(models)
    for _ in range(repeats + 1):
        for k, model in enumerate(models):
            x = images[:BATCH].to(device_of(model))
            with held_still(model), torch.no_grad():
                _wait(x)
                began = time.perf_counter()
                model(x)
                _wait(x)
                fastest[k] = max(fastest[k], len(x) / (time.perf_counter() - began))
    return fastest


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
