"""Tensors without values: those of the meta device, and fake ones, which have a shape alone."""

from __future__ import annotations

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor has values."""
    return not (tensor.is_meta or isinstance(tensor, FakeTensor))
