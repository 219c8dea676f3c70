"""Whether a layer's code runs eagerly on plain tensors, or is recorded into a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from surgeon.torch_private import (
    dispatch_modes,
    is_functionalised,
    is_legacy_batchedtensor,
    recorded_by_export,
    transforms_are_active,
)

_OWN_TENSORS = (Tensor, nn.Parameter)


def recording() -> bool:
    """Say whether code is recorded by torch.compile, torch.export or torch.jit.trace, or goes through functionalize.

    Returns:
        True if so: code must then use plain operations, which every format knows.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or is_functionalised()


def exporting() -> bool:
    """Say whether code is recorded by torch.export.

    Returns:
        Whether it is.
    """
    return recorded_by_export()


def plain(*tensors: Tensor) -> bool:
    """Say whether tensors have plain memory that code of one's own may point at, and no tangents.

    Args:
        *tensors: The tensors.

    Returns:
        True if code runs eagerly and they are not traced, fake, sharded, transformed, or without their memory.
    """
    return (
        not recording()
        # The very types: a subclass, such as a fake or a sharded tensor, has no plain memory to point at.
        and all(type(t) in _OWN_TENSORS and not is_legacy_batchedtensor(t) for t in tensors)
        and not transforms_are_active()
        and not dispatch_modes()
        and forward_ad._current_level < 0  # such code has no tangents
        and all(map(_in_memory, tensors))
    )


def _in_memory(tensor: Tensor) -> bool:
    """Say whether the storage holds all that a tensor has: not where it was freed, nor of zeros without one."""
    if tensor.layout != torch.strided or not tensor.numel():
        return True
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    needed = (tensor.storage_offset() + last + 1) * tensor.itemsize
    return tensor.untyped_storage().nbytes() >= needed and tensor.data_ptr() != 0
