"""Gaussian noise on a tensor, from a stream of its own, the same for several processes as for one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.tensors.memory_format import memory_format_of
from surgeon.tensors.normal import fill_normal
from surgeon.tensors.recording import plain, recording
from surgeon.tensors.shard import Shard


def check_sigma(sigma: float) -> float:
    """Return σ as a float.

    Args:
        sigma: A standard deviation.

    Returns:
        σ.

    Raises:
        LayerError: It is negative or not finite.
    """
    if not 0 <= sigma < math.inf:
        raise LayerError(f"sigma={sigma} is not a standard deviation; it must be finite and at least 0 (off)")
    return float(sigma)


class Drawing:
    """Base of layers that draw noise: where it comes from, and which part of it is this process's.

    Both belong to a training step, not to the layer: copies and pickles do not keep them.

    Attributes:
        stream: The random stream; None is torch's global one.
        shard: Which samples of the batch are this process's; None for a single process.
    """

    stream: torch.Generator | None = None
    shard: Shard | None = None

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("stream", "shard")}


def add_noise(x: Tensor, sigma: float | Tensor, drawing: Drawing | None = None) -> Tensor:
    """Return x + N(0, σ²).

    Compiled code draws where it adds, and from torch's global stream: it can use no other.

    Args:
        x: Any floating-point tensor.
        sigma: σ in the units of `x`: a number, or a tensor that broadcasts against `x`.
        drawing: The stream and the shard. Default: torch's global stream.

    Returns:
        A tensor of the shape, dtype and memory format of `x`.

    Raises:
        LayerError: `x` holds integers.
    """
    if not x.is_floating_point() and not x.is_complex():
        raise LayerError(f"noise is added to floating-point numbers; it was given {x.dtype}")
    if recording() and (drawing is None or drawing.shard is None):
        return x + (torch.randn_like(x) * sigma).to(x.dtype)
    if drawing is None or (drawing.stream is None and drawing.shard is None):
        return _drawn(torch.empty_like(x), sigma).add_(x)
    shard = drawing.shard or Shard(0, len(x))
    whole = torch.empty_like(x[:1].expand(shard.total, *x.shape[1:]), memory_format=memory_format_of(x))
    return shard.take(_drawn(whole, sigma, drawing.stream), len(x)) + x


def _drawn(noise: Tensor, sigma: float | Tensor, stream: torch.Generator | None = None) -> Tensor:
    """Write N(0, σ²) into `noise`, the only extra tensor that a noisy layer needs.

    On a CPU numbers follow one another as they lie in memory: against it, torch is several times slower.
    """
    along = noise
    if noise.dim() == 4 and noise.device.type == "cpu" and plain(noise) and not noise.is_contiguous():
        along = noise.permute(0, 2, 3, 1)  # channels_last
    if isinstance(sigma, Tensor):
        fill_normal(along, stream=stream)
        return noise.mul_(sigma)
    fill_normal(along, sigma, stream)
    return noise
