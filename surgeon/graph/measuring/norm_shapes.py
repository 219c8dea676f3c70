"""The outputs of norms on tensors without numbers, without the steps between."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class NormsKeepShapes(TorchFunctionMode):
    """While it is on, and for tensors without numbers alone: a norm gives a tensor of the size that it was given.

    torch finds the shapes of a norm's outputs by doing all its steps in Python, most of a pass's time.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SIZED and len(args) > 1 and args[1] is not None and _fits(func, args[0].shape, args[1]):
            return args[0].clone(memory_format=_layout(func, args[0]))
        return func(*args, **(kwargs or {}))


_SIZED = (F.batch_norm, F.layer_norm)


def _layout(func: Any, x: torch.Tensor) -> torch.memory_format:
    """How the norm's output lies: contiguous, but for batch norms in channels_last."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if (
        func is F.batch_norm
        and last is not None
        and x.is_contiguous(memory_format=last)
        and not x.is_contiguous()
    ):
        return last
    return torch.contiguous_format


def _fits(func: Any, shape: torch.Size, given: Any) -> bool:
    """Whether a norm takes inputs of this shape; `given`: its second argument, running means or the
    normalised shape."""
    if func is F.batch_norm:
        return len(shape) > 1 and shape[1] == given.numel()
    return not isinstance(given, int) and tuple(shape[-len(given) :]) == tuple(given)
