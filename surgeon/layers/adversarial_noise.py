"""The noise of the Adversarial Noise Layer, on tensors; `adversarial_layer.py` is the module.

Paper: You et al., "Adversarial Noise Layer: Regularize Neural Network by Adding Noise", eq. 2-4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surgeon.errors import LayerError


def draw_magnitude(
    n: int,
    epsilon: float,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
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


def adversarial_noise(gradient: Tensor, std: Tensor | float, r: Tensor | float) -> Tensor:
    """eta = r std g / ||g||_inf, eq. 4: the shape and dtype of `gradient` (N, ...), unit of the layer.

    `std` is the layer's standard deviation (one number), `r` (N,), (1,) or a number. ||g||_inf is the largest
    |g| of each sample, so that max |eta| = |r| std in every sample.
    Here: a sample whose gradient is all zero, or not finite (an overflow under mixed precision), gets no
    noise.
    """
    axes = tuple(range(1, gradient.dim()))
    size = gradient.abs()
    peak = size.amax(axes, keepdim=True) if axes else size
    usable = (peak > 0) & peak.isfinite()
    direction = torch.where(usable, gradient, 0) / torch.where(usable, peak, 1)
    amplitude = torch.as_tensor(r, device=gradient.device) * std
    if amplitude.dim():
        amplitude = amplitude.view(-1, *[1] * len(axes))
    return direction * amplitude.to(gradient.dtype)


def check_epsilon(epsilon: float) -> float:
    """`epsilon` as a float, or LayerError if it is not finite. Negative values are the paper's control."""
    if not math.isfinite(epsilon):
        raise LayerError(
            f"epsilon={epsilon} must be finite; the paper uses 0.01 to 0.05, and -0.03 as a control"
        )
    return float(epsilon)
