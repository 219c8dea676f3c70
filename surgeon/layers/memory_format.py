"""How the numbers of a tensor lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def memory_format_of(x: Tensor) -> torch.memory_format:
    """channels_last, or channels_last_3d, where `x` (N, C, *spatial) lies so and not also contiguous; else contiguous."""
    last = _LAST.get(x.dim())
    turned = last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=last)
    return last if last is not None and turned else torch.contiguous_format
