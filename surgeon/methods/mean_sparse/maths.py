"""The equation of MeanSparse (arXiv 2406.05927)."""

from __future__ import annotations

from torch import Tensor


def mean_sparse(x: Tensor, mean: Tensor, threshold: Tensor) -> Tensor:
    """Replace values by their channel's mean if they are no further from it than a threshold.

    Args:
        x: Activations.
        mean: Means that broadcast with `x`.
        threshold: Thresholds T = α σ ≥ 0 that broadcast with `x`; 0 changes nothing.

    Returns:
        Like `x`: the mean where |x − mean| ≤ T, otherwise x. NaN stays NaN.

    Examples:
        >>> import torch
        >>> mean_sparse(torch.tensor([0.0, 0.9, 2.0]), torch.tensor(1.0), torch.tensor(0.5))
        tensor([0., 1., 2.])
    """
    return mean.where((x - mean).abs() <= threshold, x)
