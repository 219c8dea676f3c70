"""Gaussian noise on images and activations, in training only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.tensors.gaussian import Drawing, add_noise, check_sigma
from surgeon.tensors.recording import recording
from surgeon.tensors.traced import Proxy, called
from surgeon.torch_private import is_functorch_wrapped_tensor


class GaussianNoise(Drawing, nn.Module):
    """Adds N(0, σ²) in training; the identity in evaluation.

    It has no parameters and nothing in the state dict. This is the noise of the KAP paper's input and of its
    control NT(σ) (Bashivan et al., section 4).

    Args:
        sigma: σ, in units of the input; with `pixel_std`, in units of [0, 1] pixels.
        pixel_std: One value per channel: the input is an image normalised by it, and channel c gets σ /
            pixel_std[c].
        spatial_dims: Number of spatial axes of an image. An input with one axis fewer than a batch of images
            is then a single image, (C, ...).

    Raises:
        LayerError: `sigma` is negative, `pixel_std` is not positive; in forward, the input has another number
            of channels.

    Examples:
        >>> import torch
        >>> layer = GaussianNoise(0.1).eval()
        >>> layer(torch.ones(1, 1, 2))
        tensor([[[1., 1.]]])
    """

    pixel_std: tuple[float, ...] | None

    spatial_dims: int | None = None

    def __init__(
        self, sigma: float, *, pixel_std: Sequence[float] | None = None, spatial_dims: int | None = None
    ) -> None:
        super().__init__()
        self.sigma = check_sigma(sigma)
        self.spatial_dims = spatial_dims
        if pixel_std is not None:
            pixel_std = tuple(float(value) for value in pixel_std)
            if not pixel_std or not all(0 < value < math.inf for value in pixel_std):
                raise LayerError(
                    f"pixel_std={pixel_std} must be one positive number per channel of the image"
                )
        self.pixel_std = pixel_std
        self._tensors: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Add the noise in training.

        Args:
            x: (N, C, ...).

        Returns:
            A tensor of the shape and dtype of `x`; in evaluation `x` itself.

        Raises:
            LayerError: The number of channels is not that of `pixel_std`.
        """
        if isinstance(x, Proxy):
            return called(self, x)
        if not self.training or self.sigma == 0:
            return x
        if self.pixel_std is None:
            return add_noise(x, self.sigma, self)
        channels = len(self.pixel_std)
        axis = 0 if self.spatial_dims is not None and x.dim() == self.spatial_dims + 1 else 1
        if x.dim() <= axis or x.shape[axis] != channels:
            raise LayerError(
                f"pixel_std has {channels} channels, got an input of shape {tuple(x.shape)}; "
                f"expected (N, {channels}, ...)"
            )
        scale = (self.sigma / self._std(x)).to(x.dtype)
        return add_noise(x, scale.view(-1, *[1] * (x.dim() - 1 - axis)), self)

    def _std(self, x: Tensor) -> Tensor:
        """Return `pixel_std` on the device of `x`, cached.

        It is no buffer, since code that moves or empties buffers (`to_empty`) has no values to fill it with.
        """
        place = x.device, torch.float64 if x.dtype == torch.float64 else torch.float32
        if (kept := self._tensors.get(place)) is not None:
            return kept
        made = torch.tensor(self.pixel_std, device=place[0], dtype=place[1])
        if type(made) is Tensor and not recording() and not is_functorch_wrapped_tensor(made):
            self._tensors[place] = made
        return made

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"_tensors": {}}

    def extra_repr(self) -> str:
        pixel = "" if self.pixel_std is None else f", pixel_std={self.pixel_std}"
        return f"sigma={self.sigma}{pixel}"
