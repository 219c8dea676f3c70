"""The equation of DropChannel-Mean."""

from __future__ import annotations

import torch
from torch import Tensor


def least_varying(variance: Tensor, count: int) -> Tensor:
    """Choose the channels with the smallest variance.

    Args:
        variance: (C,), not negative.
        count: k, from 0 to C.

    Returns:
        (C,) bool: True for the k channels; of equal variances the lower number comes first.

    Examples:
        >>> least_varying(torch.tensor([3.0, 1.0, 2.0, 1.0]), 2).tolist()
        [False, True, False, True]
    """
    chosen = torch.zeros(len(variance), dtype=torch.bool)
    chosen[variance.cpu().sort(stable=True).indices[:count]] = True
    return chosen.to(variance.device)
