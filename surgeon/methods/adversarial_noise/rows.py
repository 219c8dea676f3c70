"""Activations whose samples lie one behind the other, as compiled code walks through them."""

from __future__ import annotations

import torch
from torch import Tensor


def in_rows(h: Tensor) -> bool:
    """Say whether the numbers of each sample lie together: contiguous, or in channels_last.

    Args:
        h: (N, ...).

    Returns:
        Whether they do.
    """
    return h.is_contiguous() or (h.dim() == 4 and h.is_contiguous(memory_format=torch.channels_last))


def format_of(h: Tensor) -> torch.memory_format:
    """Return the memory format of a tensor whose rows are contiguous.

    Args:
        h: (N, ...).

    Returns:
        contiguous, or channels_last.
    """
    return torch.contiguous_format if h.is_contiguous() else torch.channels_last


def like(gradient: Tensor, h: Tensor) -> Tensor:
    """Return a gradient in the memory layout of activations, on their device.

    Args:
        gradient: (N, ...) or (classes, ...).
        h: (N, ...), whose rows are contiguous.

    Returns:
        The same numbers.
    """
    return gradient.detach().to(h.device).contiguous(memory_format=format_of(h))
