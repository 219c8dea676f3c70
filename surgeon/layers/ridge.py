"""Ridge regression from normal equations that rounding has touched."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-12
_MOST = 1.0


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
