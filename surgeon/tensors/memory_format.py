"""The memory formats of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.tensors.recording import recording
from surgeon.torch_private import is_functorch_wrapped_tensor, is_legacy_batchedtensor

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def memory_format_of(x: Tensor) -> torch.memory_format:
    """Return the memory format of a tensor.

    Args:
        x: (N, C, *spatial).

    Returns:
        channels_last or channels_last_3d if `x` has that format and is not contiguous too; otherwise
        contiguous.
    """
    last = _LAST.get(x.dim())
    try:
        turned = last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=last)
    except RuntimeError:  # torch cannot say under vmap
        return torch.contiguous_format
    return last if last is not None and turned else torch.contiguous_format


def lying(x: Tensor, memory: torch.memory_format) -> Tensor:
    """Return a tensor in a memory format; unchanged under functorch transforms, which know no formats.

    Args:
        x: The tensor.
        memory: The format.

    Returns:
        The tensor, copied if necessary.
    """
    return x if not recording() and transformed(x) else x.contiguous(memory_format=memory)


def lay(module: Any, memory: torch.memory_format) -> None:
    """Bring a module's tensors of four and five axes into a memory format.

    Args:
        module: The module. Its type is Any, because the stubs of torch 2.9 lack this call of `to`.
        memory: The format.
    """
    module.to(memory_format=memory)


def transformed(x: Tensor) -> bool:
    """Say whether a tensor is inside a functorch transform or a batch of gradients.

    Args:
        x: The tensor.

    Returns:
        Whether it is.
    """
    return is_functorch_wrapped_tensor(x) or is_legacy_batchedtensor(x)
