"""Gaussian noise on a tensor: drawn from a stream of its own, and by several processes as by one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.tensors.memory_format import memory_format_of
from surgeon.tensors.recording import recording
from surgeon.tensors.shard import Shard


def check_sigma(sigma: float) -> float:
    """`sigma` as a float, or LayerError if it is negative or not finite."""
    if not 0 <= sigma < math.inf:
        raise LayerError(f"sigma={sigma} is not a standard deviation; it must be finite and at least 0 (off)")
    return float(sigma)


class Drawing:
    """Where a layer's noise comes from: `stream`, torch's global one by default, and of several processes `shard`.

    Both belong to a training step, not to the layer: copies and pickles leave them behind.
    """

    stream: torch.Generator | None = None
    shard: Shard | None = None

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("stream", "shard")}


def add_noise(x: Tensor, sigma: float | Tensor, drawing: Drawing | None = None) -> Tensor:
    """x + N(0, sigma^2), same shape, dtype and memory format as `x`; from torch's global stream, or `drawing`'s.

    `sigma`, in the units of `x`, is a number or a tensor that broadcasts against `x`.
    Compiled code draws where it adds, and from torch's global stream: it knows no other.
    """
    if recording() and (drawing is None or drawing.shard is None):
        return x + (torch.randn_like(x) * sigma).to(x.dtype)
    if drawing is None or (drawing.stream is None and drawing.shard is None):
        return _drawn(torch.empty_like(x), sigma).add_(x)
    shard = drawing.shard or Shard(0, len(x))
    whole = torch.empty_like(x[:1].expand(shard.total, *x.shape[1:]), memory_format=memory_format_of(x))
    return shard.take(_drawn(whole, sigma, drawing.stream), len(x)) + x


def _drawn(noise: Tensor, sigma: float | Tensor, stream: torch.Generator | None = None) -> Tensor:
    """N(0, sigma^2) written into `noise`: the one extra tensor that a noisy layer needs."""
    if isinstance(sigma, Tensor):
        return noise.normal_(generator=stream).mul_(sigma)
    return noise.normal_(0, sigma, generator=stream)
