"""Tensors without values: on the meta device, fake (a shape only), or of uninitialised memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from surgeon.torch_private import FakeTensor


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor has values.

    Args:
        tensor: the tensor.

    Examples:
        >>> import torch
        >>> has_values(torch.zeros(1)), has_values(torch.zeros(1, device="meta"))
        (True, False)
    """
    return not (tensor.is_meta or isinstance(tensor, FakeTensor))


def empties(fn: Callable[..., Any]) -> bool:
    """Whether a function passed to `nn.Module._apply` is that of `to_empty`; only its name tells.

    Args:
        fn: the function.
    """
    return "Module.to_empty." in getattr(fn, "__qualname__", "")
