"""Kernel average pooling behind a batch norm of its own, as in the KAP authors' later code."""

from __future__ import annotations

from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.tensors.optional_state import OptionalState


class _Norm1d(OptionalState, nn.BatchNorm1d):
    """A batch norm whose tensors a state dict may lack."""


class _Norm2d(OptionalState, nn.BatchNorm2d):
    """A batch norm whose tensors a state dict may lack."""


class _Norm3d(OptionalState, nn.BatchNorm3d):
    """A batch norm whose tensors a state dict may lack."""


_NORMS = {1: _Norm1d, 2: _Norm2d, 3: _Norm3d}


class PreNormKernelAveragePool(nn.Module):
    """A batch norm followed by kernel average pooling: pool(norm(x)).

    Here: the published method has no norm between convolution and pooling; this is an option.

    Args:
        pool: The pooling.
        channels: Number of channels, C.
        spatial_dims: Spatial axes of the input: 1, 2 or 3.

    Raises:
        LayerError: `spatial_dims` is another number.
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
        """Return scale and shift, each (C,), that the norm applies in evaluation mode."""
        mean, variance = self.norm.get_buffer("running_mean"), self.norm.get_buffer("running_var")
        scale = (variance + self.norm.eps).rsqrt() * self.norm.weight
        return scale.detach(), (self.norm.bias - mean * scale).detach()

    def matrix(self) -> Tensor:
        """Return the pooling's matrix, (C', C)."""
        return self.pool.matrix()

    def set_alpha(self, value: float) -> None:
        """Set the pooling's share, as KernelAveragePool.set_alpha does.

        Args:
            value: From 0 (no pooling) to 1.
        """
        self.pool.set_alpha(value)
