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
"""Variance, relative to the squared mean, below which the difference of two sums loses too many digits."""


def draw_magnitude(
    n: int,
    epsilon: float,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw magnitudes r = clip(N(ε/2, (ε/4)²), 0, ε), eq. 2, in units of the layer's standard deviation.

    Here: a negative ε, the paper's control, mirrors the range to [ε, 0].

    Args:
        n: Number of magnitudes.
        epsilon: ε.
        generator: Source of the random numbers, which are drawn on its device. Default: torch's global one.
        device: Device of the result. Default: the generator's.
        dtype: Data type.

    Returns:
        (n,).

    Raises:
        LayerError: `epsilon` is not finite.

    Examples:
        >>> r = draw_magnitude(1000, 0.03)
        >>> bool((0 <= r).all() and (r <= 0.03).all())
        True
    """
    check_epsilon(epsilon)
    where = device if generator is None else generator.device
    normal = torch.randn(n, generator=generator, device=where, dtype=dtype)
    r = normal.mul_(abs(epsilon) / 4).add_(epsilon / 2).clamp_(min(0.0, epsilon), max(0.0, epsilon))
    return r.to(device) if device is not None else r


def noise_along(gradient: Tensor, std: Tensor | float, r: Tensor | float) -> Tensor:
    """Return η = r · std · g / ‖g‖∞, eq. 4, so that max |η| = |r| · std in every sample.

    Here: a sample whose gradient is zero (or so small that 1 / ‖g‖∞ overflows), or not finite (an overflow
    under mixed precision), gets no noise.

    Args:
        gradient: g, (N, ...).
        std: The layer's standard deviation, one number.
        r: (N,), (1,) or a number.

    Returns:
        (N, ...), in the dtype of `gradient` and the unit of `std`.

    Examples:
        >>> import torch
        >>> noise_along(torch.tensor([[1.0, -4.0]]), 2.0, 0.5)
        tensor([[ 0.2500, -1.0000]])
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
    """Return ‖g‖∞ of each sample, and whether it is finite.

    Args:
        gradient: (N, ...).

    Returns:
        Two tensors, (N, 1, ...).
    """
    axes = tuple(range(1, gradient.dim()))
    if not axes:
        peak = gradient.abs()
    else:
        gradient = _as_it_lies(gradient)
        if recording():  # a compiler fuses this into one pass
            peak = gradient.abs().amax(axes, keepdim=True)
        else:
            peak = torch.maximum(gradient.amax(axes, keepdim=True), -gradient.amin(axes, keepdim=True))
    return peak, peak.isfinite()


def deviation(h: Tensor) -> Tensor:
    """Return the population standard deviation of all entries of a tensor.

    On a CPU it is computed from a sum and a sum of squares, which is faster than torch's own, unless the mean
    is so much larger than the deviation that digits would cancel.

    Args:
        h: Any tensor.

    Returns:
        A scalar tensor.
    """
    if h.device.type == "cpu" and h.numel() and not recording():
        mean = h.mean()
        variance = torch.linalg.vector_norm(h).square() / h.numel() - mean.square()
        if bool(variance > _CANCELLED * mean.square()):
            return variance.sqrt()
    return _as_it_lies(h).std(correction=0)


def _as_it_lies(x: Tensor) -> Tensor:
    """View a channels_last tensor with its axes in the order of memory.

    Compiled code reduces along axes in the order in which they are written, and would jump through memory;
    torch's own operations reorder them by themselves.
    """
    if not recording() or x.dim() != 4:
        return x
    channels, width = x.shape[1], x.shape[3]
    last = channels > 1 and x.stride()[1:] == (1, width * channels, channels)  # strides work under vmap
    return x.permute(0, 2, 3, 1) if last else x


def _known(finite: Tensor) -> bool:
    """Say whether all entries are known to be true, without waiting for a device."""
    return finite.device.type == "cpu" and not recording() and bool(finite.all())


def check_epsilon(epsilon: float) -> float:
    """Return `epsilon` as a float. Negative values are the paper's control.

    Args:
        epsilon: ε.

    Returns:
        ε.

    Raises:
        LayerError: It is not finite.
    """
    if not math.isfinite(epsilon):
        raise LayerError(
            f"epsilon={epsilon} must be finite; the paper uses 0.01 to 0.05, and -0.03 as a control"
        )
    return float(epsilon)
