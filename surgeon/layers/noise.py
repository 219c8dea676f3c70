"""Gaussian noise on images and activations, in training only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError


def check_sigma(sigma: float) -> float:
    """`sigma` as a float, or LayerError if it is negative or not finite."""
    if not 0 <= sigma < math.inf:
        raise LayerError(f"sigma={sigma} is not a standard deviation; it must be finite and at least 0 (off)")
    return float(sigma)


def add_noise(x: Tensor, sigma: float | Tensor) -> Tensor:
    """x + N(0, sigma^2) from torch's global random stream; same shape, dtype and memory format as `x`.

    `sigma`, in the units of `x`, is a number or a tensor that broadcasts against `x`.
    """
    return x + torch.randn_like(x) * sigma


class GaussianNoise(nn.Module):
    """Adds N(0, sigma^2) in training; the identity in evaluation. No parameters, nothing in the state dict.

    The noise of the KAP paper's input and of its control NT(sigma) (Bashivan et al., section 4). Input and
    output (N, C, ...). `sigma` is in units of the input. With `pixel_std`, one value per channel, the input
    is an image normalised by that standard deviation and `sigma` is in pixel units of [0, 1]: channel c gets
    sigma / pixel_std[c].
    Raises LayerError for a negative sigma, a pixel_std that is not positive, or another number of channels
    than it.
    """

    pixel_std: Tensor | None

    def __init__(self, sigma: float, *, pixel_std: Sequence[float] | None = None) -> None:
        super().__init__()
        self.sigma = check_sigma(sigma)
        if pixel_std is not None:
            pixel_std = tuple(float(value) for value in pixel_std)
            if not pixel_std or not all(0 < value < math.inf for value in pixel_std):
                raise LayerError(
                    f"pixel_std={pixel_std} must be one positive number per channel of the image"
                )
            pixel_std = torch.tensor(pixel_std)
        self.register_buffer("pixel_std", pixel_std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.sigma == 0:
            return x
        if self.pixel_std is None:
            return add_noise(x, self.sigma)
        channels = self.pixel_std.numel()
        if x.dim() < 2 or x.shape[1] != channels:
            raise LayerError(
                f"pixel_std has {channels} channels, got an input of shape {tuple(x.shape)}; "
                f"expected (N, {channels}, ...)"
            )
        scale = (self.sigma / self.pixel_std).to(x.dtype)
        return add_noise(x, scale.view(-1, *[1] * (x.dim() - 2)))

    def extra_repr(self) -> str:
        pixel = "" if self.pixel_std is None else f", pixel_std={tuple(self.pixel_std.tolist())}"
        return f"sigma={self.sigma}{pixel}"
