"""Kernel average pooling behind a batch norm of its own, as in the KAP authors' later code."""

from __future__ import annotations

from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.tensors.optional_state import OptionalState
from surgeon.torch_private import BatchNorm


class _Norm(OptionalState):
    """A batch norm that a state dict may lack."""

    def reset_parameters(self) -> None:
        super().reset_parameters()  # type: ignore[misc]  # the batch norm's
        self.filled()


class _Norm1d(_Norm, nn.BatchNorm1d):
    """Over one spatial axis."""


class _Norm2d(_Norm, nn.BatchNorm2d):
    """Over two spatial axes."""


class _Norm3d(_Norm, nn.BatchNorm3d):
    """Over three spatial axes."""


_NORMS: dict[int, type[BatchNorm]] = {1: _Norm1d, 2: _Norm2d, 3: _Norm3d}


class PreNormKernelAveragePool(nn.Module):
    """A batch norm followed by kernel average pooling: pool(norm(x)).

    Here: the published method has no norm between convolution and pooling; this is an option.

    Args:
        pool: The pooling.
        channels: Number of channels, C.
        spatial_dims: Spatial axes of the input: 1, 2 or 3.

    Raises:
        LayerError: `spatial_dims` is another number.

    Examples:
        >>> import torch
        >>> layer = PreNormKernelAveragePool(KernelAveragePool(16), 16).eval()
        >>> layer.set_alpha(0.5)
        >>> scale, shift = layer.affine()
        >>> x = torch.rand(2, 16, 1, 1)
        >>> by_hand = (x.flatten(1) * scale + shift).double() @ layer.matrix().T
        >>> torch.allclose(layer(x).flatten(1).double(), by_hand, atol=1e-5)
        True
    """

    def __init__(self, pool: KernelAveragePool, channels: int, spatial_dims: int = 2) -> None:
        super().__init__()
        if spatial_dims not in _NORMS:
            raise LayerError(f"spatial_dims={spatial_dims} has no batch norm; valid: 1, 2, 3")
        self.norm = _NORMS[spatial_dims](channels)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and pool.

        Args:
            x: (N, C, *spatial).

        Returns:
            (N, C', *spatial).
        """
        return self.pool(self.norm(x))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return what the norm applies in evaluation mode.

        Returns:
            Scale and shift, each (C,).
        """
        mean, variance = self.norm.get_buffer("running_mean"), self.norm.get_buffer("running_var")
        scale = (variance + self.norm.eps).rsqrt() * self.norm.weight
        return scale.detach(), (self.norm.bias - mean * scale).detach()

    def matrix(self) -> Tensor:
        """Return the pooling's matrix.

        Returns:
            (C', C).
        """
        return self.pool.matrix()

    def set_alpha(self, value: float) -> None:
        """Set the pooling's share, as KernelAveragePool.set_alpha does.

        Args:
            value: From 0 (no pooling) to 1.
        """
        self.pool.set_alpha(value)
