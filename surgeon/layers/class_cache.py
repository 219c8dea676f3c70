"""CANL's cache: of each class the gradient of one random sample of the last batch that had it (You et al., Algorithm 2).

A sample's rank is random, and the highest of a class speaks for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.layers.adversarial_noise import adversarial_noise
from surgeon.layers.shard import Shard


def write(cache: Tensor, gradient: Tensor, labels: Tensor, rank: Tensor) -> None:
    """Into `cache` (classes, ...), from `gradient` (N, ...), `labels` and `rank` (N,). A class that the batch has not keeps what it has."""
    best = _best(len(cache), labels, rank)
    sample = rank.argsort()
    if len(cache) <= len(labels):  # every class once
        present = (best >= 0).view(-1, *[1] * (gradient.dim() - 1))
        rows = gradient.detach().index_select(0, sample[best.clamp_min(0)])
        cache.copy_(torch.where(present, _kept(rows, cache.dtype), cache))
    else:  # every sample once: repeated classes write the same values
        rows = gradient.detach().index_select(0, sample[best[labels]])
        cache.index_copy_(0, labels, _kept(rows, cache.dtype))


def own_rows(cache: Tensor, gradient: Tensor, everyone: Tensor, rank: Tensor, shard: Shard) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(classes, rows) of which the sum over all processes belongs into the cache: this process's samples' rows, 0 for others'.

    everyone, rank: labels and ranks of all processes' samples.
    """
    classes = everyone.unique()  # the same on all processes, so that their rows can be added
    sample = rank.argsort()[_best(len(cache), everyone, rank)[classes]] - shard.offset
    own = (sample >= 0) & (sample < len(gradient))
    rows = torch.zeros((len(classes), *cache.shape[1:]), dtype=cache.dtype, device=cache.device)
    # a process's loss is the mean of its own samples: the whole batch's gradient is that much smaller
    alone = gradient.detach()[sample[own]] / torch.distributed.get_world_size(shard.group)
    rows[own] = _kept(alone, cache.dtype)
    return classes, rows


def _best(classes: int, labels: Tensor, rank: Tensor) -> Tensor:
    """The highest rank of each class, -1 where it has no sample."""
    return rank.new_full((classes,), -1).scatter_reduce(0, labels, rank, "amax")


def _kept(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    """In less than 32 bits g/||g||_inf, which eq. 4 uses alone and which does not underflow."""
    return (adversarial_noise(gradient, 1.0, 1.0) if dtype.itemsize < 4 else gradient).to(dtype)
