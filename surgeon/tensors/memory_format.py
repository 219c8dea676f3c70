"""How the numbers of a tensor lie in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.tensors.recording import recording
from surgeon.torch_private import is_functorch_wrapped_tensor, is_legacy_batchedtensor

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def memory_format_of(x: Tensor) -> torch.memory_format:
    """channels_last, or channels_last_3d, where `x` (N, C, *spatial) lies so and not also contiguous; else contiguous."""
    last = _LAST.get(x.dim())
    try:
        turned = last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=last)
    except RuntimeError:  # under vmap torch does not tell
        return torch.contiguous_format
    return last if last is not None and turned else torch.contiguous_format


def lying(x: Tensor, memory: torch.memory_format) -> Tensor:
    """`x` in that memory format; as it lies where torch.func or a batch of gradients goes through, which know no formats."""
    return x if not recording() and transformed(x) else x.contiguous(memory_format=memory)


def lay(module: Any, memory: torch.memory_format) -> None:
    """Lay a module's tensors of four and five axes in that memory format. torch takes it; the stubs of torch 2.9 know no such call."""
    module.to(memory_format=memory)


def transformed(x: Tensor) -> bool:
    """Whether torch.func or a batch of gradients goes through."""
    return is_functorch_wrapped_tensor(x) or is_legacy_batchedtensor(x)
