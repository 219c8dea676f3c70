"""Set numbers to zero by a mask, whatever their values.

On a CPU torch.where is slow, and a product with 0 keeps NaN and inf. The bits of a floating-point zero are
all 0, so a bitwise and does it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.tensors.memory_format import transformed
from surgeon.tensors.recording import recording

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def zeroed(x: Tensor, mask: Tensor) -> Tensor:
    """Return `x` where a mask is True and 0 elsewhere, as torch.where does, also for NaN and inf.

    Args:
        x: Any tensor.
        mask: A bool tensor that broadcasts against it.

    Returns:
        A tensor of the shape and dtype of `x`.

    Examples:
        >>> import torch
        >>> zeroed(torch.tensor([1.0, float("nan")]), torch.tensor([True, False]))
        tensor([1., 0.])
    """
    # torch 2.11 has no such view under vmap
    if not _has_bits(x) or recording() or transformed(x) or transformed(mask):
        return torch.where(mask, x, 0.0)
    return _Zeroed.apply(x, mask)


def zeroed_in_place(x: Tensor, mask: Tensor) -> Tensor:
    """Do the same to `x` itself where that can be done, which saves memory for a second tensor.

    Args:
        x: A tensor that nothing else reads: neither other code nor the gradient of what made it.
        mask: A bool tensor that broadcasts against it.

    Returns:
        `x`, or a new tensor.

    Examples:
        >>> import torch
        >>> x = torch.tensor([1.0, 2.0])
        >>> zeroed_in_place(x, torch.tensor([True, False])) is x, x
        (True, tensor([1., 0.]))
    """
    if not _has_bits(x) or recording() or transformed(x) or transformed(mask):
        return zeroed(x, mask)
    given: Tensor = _ZeroedInPlace.apply(x, mask)
    return given


def _has_bits(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype.is_floating_point and x.dtype.itemsize in _BITS


def _bits_of(mask: Tensor, bits: torch.dtype) -> Tensor:
    return mask.to(bits).neg()  # -1 is all ones


class _Zeroed(torch.autograd.Function):
    """The bitwise and, with the same operation as its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, mask: Tensor) -> Tensor:
        bits = _BITS[x.dtype.itemsize]
        return (x.view(bits) & _bits_of(mask, bits)).view(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, mask: None) -> Tensor:
        return zeroed(tangent, *ctx.saved_tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return zeroed(gradient, *ctx.saved_tensors), None


class _ZeroedInPlace(torch.autograd.Function):
    """The bitwise and in place."""

    @staticmethod
    def forward(x: Tensor, mask: Tensor) -> Tensor:
        bits = _BITS[x.dtype.itemsize]
        x.view(bits).bitwise_and_(_bits_of(mask, bits))
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.mark_dirty(inputs[0])
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, mask: None) -> Tensor:
        return tangent.masked_fill_(~ctx.saved_tensors[0], 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return zeroed(gradient, *ctx.saved_tensors), None
