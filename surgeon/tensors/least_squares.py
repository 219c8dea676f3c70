"""Least squares from normal equations that rounding has touched."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 1e-12
_MOST = 1.0


class Equations(NamedTuple):
    """Means over images and places, float64, of `problems` problems that share nothing.

    gram: (problems, d, d), u uᵀ of the inputs u. cross: (problems, outputs, d), y uᵀ, y what is to be reached. energy: mean
    of ‖y‖² over all outputs.
    """

    gram: Tensor
    cross: Tensor
    energy: Tensor

    def solve(self, ridge: float, start: Tensor | None = None) -> Tensor:
        """(problems, outputs, d): least squares, held to `start`, else to zero, by `ridge` times the Gram's mean diagonal."""
        if start is None:
            return ridge_solve(self.gram, self.cross, ridge)
        return start + ridge_solve(self.gram, self.cross - start @ self.gram, ridge)

    def error(self, weight: Tensor) -> float:
        """Relative error, ‖W u − y‖ / ‖y‖, of weights (problems, outputs, d)."""
        rest = self.energy - 2 * (weight * self.cross).sum() + ((weight @ self.gram) * weight).sum()
        return float((rest.clamp_min(0) / self.energy.clamp_min(1e-30)).sqrt())


def ridge_solve(gram: Tensor, cross: Tensor, ridge: float) -> Tensor:
    """cross · (gram + ridge · mean(diag gram) · I)⁻¹, float64, shape of `cross`, (..., outputs, d).

    gram: (..., d, d), symmetric up to rounding. Products in single precision may leave it with slightly negative
    eigenvalues; the ridge is then raised tenfold until the matrix is positive definite.
    """
    gram, cross = gram.double(), cross.double()
    gram = (gram + gram.mT) / 2
    scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-30)[..., None, None]
    unit = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    ridge = max(ridge, _LEAST)
    while True:
        factor, failed = torch.linalg.cholesky_ex(gram + ridge * scale * unit)
        if ridge >= _MOST or not bool(failed.any()):
            return torch.cholesky_solve(cross.mT, factor).mT
        ridge *= 10
