"""Tensors without values: those of the meta device, fake ones, which have a shape alone, and memory that nobody wrote to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from surgeon.torch_private import FakeTensor


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor has values."""
    return not (tensor.is_meta or isinstance(tensor, FakeTensor))


def empties(fn: Callable[..., Any]) -> bool:
    """Whether a function that `nn.Module._apply` is given is that of `to_empty`, which torch tells by its name alone."""
    return "Module.to_empty." in getattr(fn, "__qualname__", "")
