"""Inference speed on this machine; compare only numbers of the same run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from surgeon.evaluation.engine.scoring import device_of
from surgeon.models.quiet import held_still

BATCH = 64


class Speeds(NamedTuple):
    """How fast networks are.

    Attributes:
        medians: images per second of each network, the median of its turns.
        factor: of the first network relative to the second one: the median, the lowest and the highest of the
            turns, each of which measures one right after the other; None for one network.
    """

    medians: tuple[float, ...]
    factor: tuple[float, float, float] | None


def images_per_second(models: Sequence[nn.Module], images: Tensor, *, repeats: int = 7) -> Speeds:
    """Measure inference speed, with the models taking turns.

    Args:
        models: Networks.
        images: (N, C, H, W) normalised as the networks expect them; the first 64 are one batch.
        repeats: Turns of each, after one that warms up.

    Returns:
        The speeds.
    """
    turns: list[list[float]] = [[] for _ in models]
    for turn in range(repeats + 1):
        # Who is first changes: what came before it in a cache, or a busy machine, is then no network's own.
        order = range(len(models)) if turn % 2 else range(len(models) - 1, -1, -1)
        for k in order:
            x = images[:BATCH].to(device_of(models[k]), copy=True)  # code may write into its input
            with held_still(models[k], copies=False), torch.no_grad():
                _wait(x)
                began = time.perf_counter()
                models[k](x)
                _wait(x)
                turns[k].append(len(x) / (time.perf_counter() - began))
    turns = [of[1:] for of in turns]
    ratios = [a / b for a, b in zip(*turns[:2], strict=True)] if len(models) > 1 else []
    factor = (median(ratios), min(ratios), max(ratios)) if ratios else None
    return Speeds(tuple(median(of) for of in turns), factor)


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
