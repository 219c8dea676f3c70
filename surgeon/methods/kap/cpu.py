"""Kernel Average Pooling on a CPU: one compiled pass over the sheet, and its adjoint for gradients.

`sheets.c` has it, for float32 and stride 1, on activations and on weights as they lie. Other cases are torch's average
pooling (`maths.py`), and so is everything where nothing can be compiled.
"""

from __future__ import annotations

import ctypes
import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgeon.methods.kap.sheet import Divisor, Sheet, side_matrices, window
from surgeon.tensors import native
from surgeon.tensors.memory_format import memory_format_of
from surgeon.tensors.native import Functions, blank, functions_of, numbers


@dataclass(frozen=True, slots=True)
class Means:
    """What is averaged.

    Attributes:
        sheet: (rows, columns) of the channels.
        kernel_size: Side K of the window.
        dims: 2 for a sheet, 1 for a line.
        divisor: "channels" or "window".
        adjoint: Compute what gradients go through.
    """

    sheet: Sheet
    kernel_size: int
    dims: int
    divisor: Divisor
    adjoint: bool = False


def takes(x: Tensor) -> bool:
    """Say whether `pooled` can average the channels of activations or weights.

    Args:
        x: (N, C, *spatial).

    Returns:
        Whether it can.
    """
    return native.takes(x) and x.numel() > 0 and library() is not None


def pooled(x: Tensor, means: Means) -> Tensor:
    """Average channels with stride 1.

    Args:
        x: (N, C, *spatial).
        means: What is averaged.

    Returns:
        The same shape and memory format.
    """
    out: Tensor = _Pooled.apply(x, means)
    return out


class _Pooled(torch.autograd.Function):
    """The pooling, whose gradient is its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, means: Means) -> Tensor:
        ctx.means, ctx.shape = means, x.shape
        return _computed(x, means)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        back = replace(ctx.means, adjoint=not ctx.means.adjoint)
        compiled = takes(gradient) and gradient.shape == ctx.shape
        return _Pooled.apply(gradient, back) if compiled else _plainly(gradient, back), None


def _computed(
    x: Tensor, means: Means, out: Tensor | None = None, functions: Functions | None = None
) -> Tensor:
    functions = functions or library()
    assert functions is not None  # `takes` asked
    memory = memory_format_of(x)
    x = x.detach().resolve_neg().contiguous(memory_format=memory)
    out = torch.empty_like(x) if out is None else out
    images, positions = len(x), math.prod(x.shape[2:])
    if memory != torch.contiguous_format:  # channels last: each position of an image is a sheet of its own
        images, positions = images * positions, 1
    whole = means.divisor == "window"
    of = _Sheet(
        images, *means.sheet, positions, *window(means.sheet, means.kernel_size), whole, means.adjoint
    )
    if functions["surgeon_sheets"](x.data_ptr(), out.data_ptr(), of, torch.get_num_threads()):
        raise MemoryError("kernel average pooling found no memory for a sheet")
    return out


def _plainly(x: Tensor, means: Means) -> Tensor:
    """The same by matrix products, which gradients and batches of gradients go through."""
    rows, columns = means.sheet
    down, across = (
        (m.T if means.adjoint else m).to(x)
        for m in side_matrices(
            rows * columns,
            means.kernel_size,
            1,
            means.dims,
            sheet=means.sheet,
            even=True,
            divisor=means.divisor,
        )
    )
    n, positions = x.shape[0], math.prod(x.shape[2:])
    x, shape = x.clone(memory_format=torch.contiguous_format), x.shape
    with torch.autocast("cpu", enabled=False):
        x = torch.matmul(down, x.view(n, rows, columns * positions))
        return torch.matmul(across, x.view(n, rows, columns, positions)).view(shape)


class _Sheet(ctypes.Structure):
    """The `Sheet` of sheets.c."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("images", "rows", "columns", "positions", "height", "width", "whole", "adjoint")
    )


@functools.cache
def library() -> Functions | None:
    """The function of sheets.c, once it gave the right numbers; a warning says why there is nothing.

    Returns:
        It by its name, or None where nothing is or can be compiled.
    """
    return functions_of(Path(__file__).with_name("sheets.c"), "kernel average pooling", _declared)


def _declared(code: ctypes.CDLL) -> Functions:
    code.surgeon_sheets.argtypes = [ctypes.c_void_p, ctypes.c_void_p, _Sheet, ctypes.c_int]
    functions: Functions = {"surgeon_sheets": code.surgeon_sheets}
    if not are_right(functions):
        raise OSError("what was compiled gives wrong numbers")
    return functions


def are_right(functions: Functions) -> bool:
    """Say whether a function averages small sheets as their matrices do.

    Args:
        functions: That of sheets.c.

    Returns:
        Whether it does.
    """
    for positions in (1, 17):
        x = numbers(2, 12, positions)
        for adjoint in (False, True):
            means, out = Means((3, 4), 3, 2, "channels", adjoint), blank(2, 12, positions)
            if not torch.allclose(_computed(x, means, out, functions), _plainly(x, means), atol=1e-5):
                return False
    return True
