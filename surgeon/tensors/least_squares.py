"""Least squares from normal equations that contain rounding errors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 1e-12
_MOST = 1.0


class Equations(NamedTuple):
    """Normal equations, as means over images and positions in float64, of several independent problems.

    Attributes:
        gram: (problems, d, d), mean of u uᵀ of the inputs u.
        cross: (problems, outputs, d), mean of y uᵀ, y the outputs to reach.
        energy: Mean of ‖y‖² over all outputs.
    """

    gram: Tensor
    cross: Tensor
    energy: Tensor

    def solve(self, ridge: float, start: Tensor | None = None) -> Tensor:
        """Solve for the weights.

        Args:
            ridge: Regularisation, times the mean diagonal of `gram`.
            start: (problems, outputs, d), what the ridge pulls towards. Default: zero.

        Returns:
            (problems, outputs, d), float64.
        """
        if start is None:
            return ridge_solve(self.gram, self.cross, ridge)
        return start + ridge_solve(self.gram, self.cross - start @ self.gram, ridge)

    def error(self, weight: Tensor) -> float:
        """Return the relative error ‖W u − y‖ / ‖y‖ of weights.

        Args:
            weight: W, (problems, outputs, d).

        Returns:
            The error.
        """
        rest = self.energy - 2 * (weight * self.cross).sum() + ((weight @ self.gram) * weight).sum()
        return float((rest.clamp_min(0) / self.energy.clamp_min(1e-30)).sqrt())


def ridge_solve(gram: Tensor, cross: Tensor, ridge: float) -> Tensor:
    """Return cross · (gram + ridge · mean(diag gram) · I)⁻¹ in float64.

    Args:
        gram: (..., d, d), symmetric up to rounding. Products in single precision may leave slightly negative
            eigenvalues; the ridge is then raised tenfold until the matrix is positive definite.
        cross: (..., outputs, d).
        ridge: The ridge, ≥ 0.

    Returns:
        (..., outputs, d).

    Examples:
        >>> import torch
        >>> ridge_solve(2 * torch.eye(2), torch.tensor([[4.0, 6.0]]), 0).round(decimals=6)
        tensor([[2., 3.]], dtype=torch.float64)
    """
    gram, cross = gram.double(), cross.double()
    # Cholesky reads one triangle alone, in which rounding left other numbers than in the other.
    gram = (gram + gram.mT) / 2
    # All inputs may be 0, and the ridge, which is relative, with them.
    scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-30)[..., None, None]
    unit = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    ridge = max(ridge, _LEAST)
    while True:
        # _ex says which problems failed, where the plain one raises an error.
        factor, failed = torch.linalg.cholesky_ex(gram + ridge * scale * unit)
        if ridge >= _MOST or not bool(failed.any()):
            return torch.cholesky_solve(cross.mT, factor).mT
        ridge *= 10
