"""CANL's cache: for each class, the gradient of a sample of the last batch with it (Algorithm 2).

You et al., "Adversarial Noise Layer". Each sample has a random rank; the gradient of the highest-ranked
sample of each class is cached.

In an uncompiled network a hook on the activations writes the cache. A compiled graph loses what a hook inside
it writes, but returns the gradients of its inputs. There the cache is an input, whose "gradient" is the
cache's new value. So the cache is renewed by `backward()`, not by torch.autograd.grad, and a layer that the
loss does not depend on caches zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.methods.adversarial_noise.maths import noise_along
from surgeon.tensors.shard import Shard


def write(cache: Tensor, gradient: Tensor, labels: Tensor, rank: Tensor) -> None:
    """Write a batch's gradients into the cache. Classes absent from the batch keep their cached gradient.

    Args:
        cache: (classes, ...), written in place.
        gradient: (N, ...).
        labels: (N,).
        rank: (N,), a permutation.
    """
    speaking = speakers(labels, rank.unsqueeze(0), len(cache))[0]
    if len(cache) <= len(labels):  # every class once
        cache.copy_(_renewed(cache, gradient, speaking))
    else:  # every sample once: repeated classes write the same values
        rows = gradient.detach().index_select(0, speaking[labels])
        cache.index_copy_(0, labels, _kept(rows, cache.dtype))


def speakers(labels: Tensor, ranks: Tensor, classes: int) -> Tensor:
    """Find the sample of each class whose gradient is cached.

    Args:
        labels: (N,).
        ranks: (layers, N), each row a permutation.
        classes: Number of classes.

    Returns:
        (layers, classes), the sample's index, −1 for classes absent from the batch.

    Examples:
        >>> import torch
        >>> speakers(torch.tensor([0, 2, 0]), torch.tensor([[0, 1, 2]]), 3)
        tensor([[ 2, -1,  1]])
    """
    if not len(labels):
        return ranks.new_full((len(ranks), classes), -1)
    best = _best(classes, labels, ranks)
    # argsort turns ranks into the samples that have them; absent classes read any row, which `where` leaves out.
    return torch.where(best >= 0, ranks.argsort(1).gather(1, best.clamp_min(0)), -1)


def input_of(cache: Tensor) -> Tensor:
    """Return the cache as an input of a compiled graph: the same memory, overwritten by its "gradient".

    Use it for a single forward pass: the gradients of several would be summed.

    Args:
        cache: (classes, ...).

    Returns:
        A leaf tensor that shares the cache's memory.
    """
    leaf = cache.data.requires_grad_()
    # It runs when a gradient is accumulated, which `backward()` does and torch.autograd.grad does not.
    leaf.register_post_accumulate_grad_hook(_write_back)
    return leaf


def feed_cache(h: Tensor, leaf: Tensor, speaking: Tensor) -> Tensor:
    """Return `h`; in the backward pass, rows of its gradient become the gradient of `leaf`.

    Args:
        h: (N, ...).
        leaf: (classes, ...), from `input_of`.
        speaking: (classes,), from `speakers`.

    Returns:
        A view of `h`.
    """
    out: Tensor = _FeedCache.apply(h, leaf, speaking)
    return out


class _FeedCache(torch.autograd.Function):
    """The identity on `h`, with the new cache as the gradient of `leaf`."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, leaf: Tensor, speaking: Tensor) -> Tensor:
        ctx.save_for_backward(leaf, speaking)
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        leaf, speaking = ctx.saved_tensors
        return gradient, _renewed(leaf.detach(), gradient, speaking), None


def _write_back(leaf: Tensor) -> None:
    """Write the "gradient" of a leaf into the memory that it shares with the cache."""
    # None where the loss does not depend on the layer.
    if leaf.grad is not None:
        leaf.data.copy_(leaf.grad)
        leaf.grad = None


def _renewed(cache: Tensor, gradient: Tensor, speaking: Tensor) -> Tensor:
    """Return the cache after a batch."""
    rows = gradient.detach().index_select(0, speaking.clamp_min(0))
    # A mask over all classes, and no index by it: on a GPU the CPU would wait for the number of rows.
    present = (speaking >= 0).view(-1, *[1] * (gradient.dim() - 1))
    return torch.where(present, _kept(rows, cache.dtype), cache)


def own_rows(
    cache: Tensor, gradient: Tensor, everyone: Tensor, rank: Tensor, shard: Shard
) -> tuple[Tensor, Tensor]:
    """Return the batch's classes, and this process's contribution to the cache row of each.

    A row is the gradient if a sample of this process is the one to cache, otherwise 0; the sum over all
    processes goes into the cache.

    Args:
        cache: (classes, ...).
        gradient: (N, ...), of this process's samples.
        everyone: (total,), the labels of all processes' samples.
        rank: (total,), a permutation.
        shard: Which samples are this process's.

    Returns:
        (k,) the classes in the whole batch, and (k, ...) the rows.
    """
    classes = everyone.unique()  # the same on all processes, so that their rows can be added
    sample = speakers(everyone, rank.unsqueeze(0), len(cache))[0][classes] - shard.offset
    own = (sample >= 0) & (sample < len(gradient))
    rows = torch.zeros((len(classes), *cache.shape[1:]), dtype=cache.dtype, device=cache.device)
    # A process's loss is the mean over its own samples: its gradients are world_size times too large.
    alone = gradient.detach()[sample[own]] / torch.distributed.get_world_size(shard.group)
    rows[own] = _kept(alone, cache.dtype)
    return classes, rows


def _best(classes: int, labels: Tensor, ranks: Tensor) -> Tensor:
    """Return the highest rank in each class, (layers, classes), −1 for absent classes."""
    none = ranks.new_full((len(ranks), classes), -1)
    return none.scatter_reduce(1, labels.expand_as(ranks), ranks, "amax")


def is_scaled(dtype: torch.dtype) -> bool:
    """Say whether a cache of a data type holds g/‖g‖∞, which is all that eq. 4 uses.

    Args:
        dtype: Data type of the cache.

    Returns:
        True for float16 and narrower, in which small gradients would underflow.
    """
    return torch.finfo(dtype).tiny > torch.finfo(torch.float32).tiny


def _kept(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a gradient as the cache stores it."""
    return (noise_along(gradient, 1.0, 1.0) if is_scaled(dtype) else gradient).to(dtype)
