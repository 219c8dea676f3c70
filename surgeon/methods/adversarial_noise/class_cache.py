"""CANL's cache: for each class, the gradient of one random sample of the last batch that had the class (You et al., Algorithm 2).

Each sample has a random rank, and the one of highest rank speaks for its class: its gradient is cached.

In an uncompiled network a hook on the activations writes the cache. A compiled graph loses what a hook inside it writes, but gives the
gradients of its inputs: there the cache is an input, and the graph gives its new values as its gradient. So it is renewed by `backward()`,
not by torch.autograd.grad, and there a layer that the loss does not depend on caches zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.methods.adversarial_noise.maths import noise_along
from surgeon.tensors.shard import Shard


def write(cache: Tensor, gradient: Tensor, labels: Tensor, rank: Tensor) -> None:
    """Into `cache` (classes, ...), from `gradient` (N, ...), `labels` and `rank` (N,). Classes absent from the batch keep
    their cached gradient."""
    speaking = speakers(labels, rank.unsqueeze(0), len(cache))[0]
    if len(cache) <= len(labels):  # every class once
        cache.copy_(_renewed(cache, gradient, speaking))
    else:  # every sample once: repeated classes write the same values
        rows = gradient.detach().index_select(0, speaking[labels])
        cache.index_copy_(0, labels, _kept(rows, cache.dtype))


def speakers(labels: Tensor, ranks: Tensor, classes: int) -> Tensor:
    """Which sample speaks for each class: `labels` (N,) and `ranks` (layers, N), in each a permutation; (layers, classes), −1 where a
    class has no sample."""
    if not len(labels):
        return ranks.new_full((len(ranks), classes), -1)
    best = _best(classes, labels, ranks)
    return torch.where(best >= 0, ranks.argsort(1).gather(1, best.clamp_min(0)), -1)


def input_of(cache: Tensor) -> Tensor:
    """`cache` as an input of a compiled graph: the same memory, overwritten by what arrives as its gradient.

    For one forward pass alone, since the gradients of several would be added up.
    """
    leaf = cache.data.requires_grad_()
    leaf.register_post_accumulate_grad_hook(_write_back)
    return leaf


def feed_cache(h: Tensor, leaf: Tensor, speaking: Tensor) -> Tensor:
    """`h` (N, ...) itself; on the way back its gradient's rows `speaking` (classes,) become the gradient of `leaf` (classes, ...), which
    is the cache's `input_of`."""
    out: Tensor = _FeedCache.apply(h, leaf, speaking)
    return out


class _FeedCache(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, leaf: Tensor, speaking: Tensor) -> Tensor:
        ctx.save_for_backward(leaf, speaking)
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        leaf, speaking = ctx.saved_tensors
        return gradient, _renewed(leaf.detach(), gradient, speaking), None


def _write_back(leaf: Tensor) -> None:
    if leaf.grad is not None:
        leaf.data.copy_(leaf.grad)
        leaf.grad = None


def _renewed(cache: Tensor, gradient: Tensor, speaking: Tensor) -> Tensor:
    """The cache after a batch, of as many classes as it has."""
    rows = gradient.detach().index_select(0, speaking.clamp_min(0))
    present = (speaking >= 0).view(-1, *[1] * (gradient.dim() - 1))
    return torch.where(present, _kept(rows, cache.dtype), cache)


def own_rows(cache: Tensor, gradient: Tensor, everyone: Tensor, rank: Tensor, shard: Shard) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The batch's classes, and a row for each: the gradient where a sample of this process speaks for the class, else 0. The sum of
    the rows over all processes goes into the cache.

    everyone, rank: labels and ranks of all processes' samples.
    """
    classes = everyone.unique()  # the same on all processes, so that their rows can be added
    sample = speakers(everyone, rank.unsqueeze(0), len(cache))[0][classes] - shard.offset
    own = (sample >= 0) & (sample < len(gradient))
    rows = torch.zeros((len(classes), *cache.shape[1:]), dtype=cache.dtype, device=cache.device)
    # a process's loss is the mean of its own samples: the whole batch's gradient is that much smaller
    alone = gradient.detach()[sample[own]] / torch.distributed.get_world_size(shard.group)
    rows[own] = _kept(alone, cache.dtype)
    return classes, rows


def _best(classes: int, labels: Tensor, ranks: Tensor) -> Tensor:
    """The highest rank of each class, (layers, classes), −1 where it has no sample."""
    none = ranks.new_full((len(ranks), classes), -1)
    return none.scatter_reduce(1, labels.expand_as(ranks), ranks, "amax")


def is_scaled(dtype: torch.dtype) -> bool:
    """Whether a cache of that dtype holds g/||g||_inf, which eq. 4 uses alone: float16 and narrower, in which small
    gradients would underflow."""
    return torch.finfo(dtype).tiny > torch.finfo(torch.float32).tiny


def _kept(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    return (noise_along(gradient, 1.0, 1.0) if is_scaled(dtype) else gradient).to(dtype)
