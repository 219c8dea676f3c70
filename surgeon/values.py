"""The values of tensors: whether there are any (not on the meta device, fake, or uninitialised), and their bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
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


def raw(value: Tensor) -> Any:
    """Return the bytes of a dense tensor's numbers, as they are read: negated and conjugated views are carried out.

    Args:
        value: Any dense tensor, on any device.

    Returns:
        A numpy array of uint8, on the CPU, in the order of the indices.

    Examples:
        >>> import torch
        >>> raw(torch.tensor([1, 2], dtype=torch.uint8)).tolist()
        [1, 2]
    """
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return plain.flatten().view(torch.uint8).numpy()
