"""Zeros where a mask says so, whatever stood there.

On a CPU torch's own choice by a mask is slow, and a product with 0 keeps what is not finite. The bits of a floating-point zero are all 0: a bitwise and does it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surgeon.tensors.memory_format import transformed
from surgeon.tensors.recording import recording

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def zeroed(x: Tensor, mask: Tensor) -> Tensor:
    """`x` where the bool `mask`, which broadcasts against it, is True, and 0 elsewhere, as torch.where gives it."""
    plain = x.device.type == "cpu" and x.dtype.is_floating_point and x.dtype.itemsize in _BITS
    if (
        not plain or recording() or transformed(x) or transformed(mask)
    ):  # torch 2.11 has no such view under vmap
        return torch.where(mask, x, 0.0)
    return _Zeroed.apply(x, mask)


class _Zeroed(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, mask: Tensor) -> Tensor:
        bits = _BITS[x.dtype.itemsize]
        return (x.view(bits) & mask.to(bits).neg()).view(x.dtype)  # -1 is all ones

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
