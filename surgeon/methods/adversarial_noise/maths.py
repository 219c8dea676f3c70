"""The noise of the Adversarial Noise Layer, on tensors.

Paper: You et al., "Adversarial Noise Layer: Regularize Neural Network by Adding Noise", eq. 2-4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.tensors.recording import recording

_CANCELLED = 1e-2
"""Variance, in squares of the mean, below which the difference of two sums has lost too many digits."""


def draw_magnitude(
    n: int,
    epsilon: float,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """`n` magnitudes r = clip(N(epsilon/2, (epsilon/4)^2), 0, epsilon), shape (n,), eq. 2.

    In units of the layer's standard deviation.
    Here: a negative epsilon, the paper's control, mirrors the range to [epsilon, 0]. Drawn where the
    generator lives, then moved to `device`.
    Raises LayerError if epsilon is not finite.
    """
    check_epsilon(epsilon)
    where = device if generator is None else generator.device
    normal = torch.randn(n, generator=generator, device=where, dtype=dtype)
    r = normal.mul_(abs(epsilon) / 4).add_(epsilon / 2).clamp_(min(0.0, epsilon), max(0.0, epsilon))
    return r.to(device) if device is not None else r


def noise_along(gradient: Tensor, std: Tensor | float, r: Tensor | float) -> Tensor:
    """eta = r std g / ||g||_inf, eq. 4: the shape and dtype of `gradient` (N, ...), unit of the layer.

    `std` is the layer's standard deviation (one number), `r` (N,), (1,) or a number. ||g||_inf is the largest
    |g| of each sample, so that max |eta| = |r| std in every sample.
    Here: a sample whose gradient is all zero (or so near it that 1 / ||g||_inf overflows), or not finite (an overflow
    under mixed precision), gets no noise.
    """
    amplitude = torch.as_tensor(r, device=gradient.device) * std
    if amplitude.dim():
        amplitude = amplitude.view(-1, *[1] * (gradient.dim() - 1))
    peak, finite = largest(gradient)
    if not _known(finite):
        gradient = torch.where(finite, gradient, 0)
    usable = finite & (peak > 0)
    if gradient.dtype.itemsize < 4:  # the quotient alone would overflow
        return torch.where(usable, gradient, 0) / torch.where(usable, peak, 1) * amplitude.to(gradient.dtype)
    factor = amplitude.to(gradient.dtype) / torch.where(usable, peak, 1)
    return gradient * torch.where(usable & factor.isfinite(), factor, 0)


def largest(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """||g||_inf of each sample, (N, 1, ...), and whether it is finite."""
    axes = tuple(range(1, gradient.dim()))
    if not axes:
        peak = gradient.abs()
    else:
        gradient = _as_it_lies(gradient)
        if recording():  # one pass for a compiler, which makes no tensor of the absolute values
            peak = gradient.abs().amax(axes, keepdim=True)
        else:
            peak = torch.maximum(gradient.amax(axes, keepdim=True), -gradient.amin(axes, keepdim=True))
    return peak, peak.isfinite()


def deviation(h: Tensor) -> Tensor:
    """The population standard deviation of all numbers of `h`.

    On a CPU from a sum and a sum of squares, quicker passes than torch's own, where the mean does not dwarf the deviation.
    """
    if h.device.type == "cpu" and h.numel() and not recording():
        mean = h.mean()
        variance = torch.linalg.vector_norm(h).square() / h.numel() - mean.square()
        if bool(variance > _CANCELLED * mean.square()):
            return variance.sqrt()
    return _as_it_lies(h).std(correction=0)


def _as_it_lies(x: Tensor) -> Tensor:
    """A view of channels_last numbers with the axes in their order in memory: compiled code sums along axes as they are written
    down, and would jump through memory. torch's own operations see to it themselves."""
    if not recording() or x.dim() != 4:
        return x
    channels, width = x.shape[1], x.shape[3]
    last = channels > 1 and x.stride()[1:] == (1, width * channels, channels)  # which vmap can tell, too
    return x.permute(0, 2, 3, 1) if last else x


def _known(finite: Tensor) -> bool:
    """Whether all are known to be true, where asking makes nobody wait."""
    return finite.device.type == "cpu" and not recording() and bool(finite.all())


def check_epsilon(epsilon: float) -> float:
    """`epsilon` as a float, or LayerError if it is not finite. Negative values are the paper's control."""
    if not math.isfinite(epsilon):
        raise LayerError(
            f"epsilon={epsilon} must be finite; the paper uses 0.01 to 0.05, and -0.03 as a control"
        )
    return float(epsilon)
