"""The weight map layer on a CPU: one compiled product and one compiled filter, on activations as they lie.

`planes.c` has both, for float32: nothing is copied into another layout. With stride 1 and outputs as large as inputs
the filter and the bias go over the product in place; other filters are torch's. Other cases go the way of `maths.py`,
and so does everything where nothing can be compiled.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgeon.methods.weight_map.filtering import Filter, plainly
from surgeon.tensors import native
from surgeon.tensors.memory_format import memory_format_of
from surgeon.tensors.native import Functions, blank, functions_of, numbers
from surgeon.tensors.recording import plain

Pair = tuple[int, int]
FUNCTIONS = ("surgeon_products", "surgeon_filtered")
"""What planes.c has."""
_PACKING = 16
"""How many times as long as packing a weight it takes to lay a number of the activations out for torch's product.

Near that the two ways take about as long, so that it need not be exact for a processor."""


def takes(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> bool:
    """Say whether `product` and `on_cpu` can compute a weight map.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in, H, W).
        bias: (C_out, H_out, W_out) or None.
        groups: Groups of channels.

    Returns:
        Whether they can.
    """
    return (
        groups == 1
        # Before what looks at sizes: what is recorded must not depend on them.
        and native.takes(x, weight)
        and (bias is None or plain(bias))
        and _pays(x.shape[0], *weight.shape[:2])
        and memory_format_of(x) != torch.channels_last
        and not torch.is_autocast_enabled("cpu")
        and weight.permute(2, 3, 1, 0).is_contiguous()
        and library() is not None
    )


def _pays(images: int, c_out: int, c_in: int) -> bool:
    """Say whether it is the faster way: it packs the weights at each call, torch's product the activations."""
    return _PACKING * images * (c_in + c_out) >= c_in * c_out


def on_cpu(x: Tensor, weight: Tensor, bias: Tensor | None, filtering: Filter) -> Tensor:
    """Compute a weight map on a CPU.

    Gradients of gradients go through plain torch operations.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in, H, W).
        bias: (C_out, H, W) or None.
        filtering: The filter, which keeps the size.

    Returns:
        (N, C_out, H, W), contiguous.
    """
    if bias is not None:
        bias = bias.to(x.dtype).expand(weight.shape[0], *x.shape[2:])
    return _applied(x, weight, bias, filtering)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply the activations of each position by its matrix of weights.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in, H, W).

    Returns:
        (N, C_out, H, W), contiguous.
    """
    return _applied(x, weight, None, None)


def _applied(x: Tensor, weight: Tensor, bias: Tensor | None, filtering: Filter | None) -> Tensor:
    # In inference mode torch's own operations record nothing, even where gradients were enabled within it.
    with torch.set_grad_enabled(torch.is_grad_enabled() and not torch.is_inference_mode_enabled()):
        out: Tensor = _WeightMap.apply(x, _maps(weight), bias, filtering)
    return out


def _maps(weight: Tensor) -> Tensor:
    """View (C_out, C_in, H, W) as (H·W, C_in, C_out)."""
    return weight.permute(2, 3, 1, 0).flatten(0, 1)


class _WeightMap(torch.autograd.Function):
    """The layer, or its product alone, with its own backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Tensor, bias: Tensor | None, filtering: Filter | None) -> Tensor:
        ctx.save_for_backward(x, maps)
        ctx.filtering = filtering
        x, maps = _dense(x), _dense(maps)
        out = x.new_empty(x.shape[0], maps.shape[2], *x.shape[2:])
        _products(_of_maps(maps), _of_planes(x), _of_planes(out, channels_first=True), x)
        return (
            out if filtering is None else _filter(out, None if bias is None else _dense(bias), filtering, out)
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, maps = ctx.saved_tensors
        needs_x, needs_maps, needs_bias, _ = ctx.needs_input_grad
        back = None if ctx.filtering is None else ctx.filtering.adjoint
        of_bias = gradient.sum(0) if needs_bias else None
        if torch.is_grad_enabled() or not _fit(x, maps, gradient):
            g = _places(gradient if back is None else plainly(gradient, back))
            of_x = torch.bmm(g, maps.transpose(1, 2)) if needs_x else None
            if of_x is not None:
                of_x = of_x.view(*x.shape[2:], *x.shape[:2]).permute(2, 3, 0, 1)
            return of_x, torch.bmm(_places(x).transpose(1, 2), g) if needs_maps else None, of_bias, None
        x, maps, g = _dense(x), _dense(maps), _dense(gradient)
        if back is not None:
            g = _filter(g, None, back, torch.empty_like(g))
        of_x = of_maps = None
        if needs_x:
            of_x = torch.empty_like(x)
            _products(
                _of_maps(maps, transposed=True), _of_planes(g), _of_planes(of_x, channels_first=True), x
            )
        if needs_maps:
            of_maps = torch.empty_like(maps)
            _products(
                _of_planes(g, channels_first=True), _of_planes(x, channels_first=True), _of_maps(of_maps), x
            )
        return of_x, of_maps, of_bias, None


def _fit(x: Tensor, maps: Tensor, gradient: Tensor) -> bool:
    """Say whether the gradient and what was saved are as `takes` asks: hooks of other code may have changed both."""
    n, c_in, height, width = x.shape
    return (
        native.takes(x, maps, gradient)
        and maps.shape == (height * width, c_in, gradient.shape[1])
        and gradient.shape == (n, maps.shape[2], height, width)
    )


class _Operand(ctypes.Structure):
    """A tensor of (row, term, place), by its memory: the `Operand` of planes.c, with how many rows and terms it has."""

    _fields_ = (
        ("at", ctypes.c_void_p),
        ("by_row", ctypes.c_int64),
        ("by_term", ctypes.c_int64),
        ("by_place", ctypes.c_int64),
    )
    rows: int
    terms: int


class _Window(ctypes.Structure):
    """The `Filter` of planes.c."""

    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in ("height", "width", "rows", "columns", "top", "left", "row", "column")
        ),
        ("box", ctypes.c_float),
        ("centre", ctypes.c_float),
    )


def _of_planes(x: Tensor, *, channels_first: bool = False) -> _Operand:
    """(N, C, H, W) as an operand: images are its rows and channels its terms, or the other way round."""
    n, channels, height, width = x.shape
    size = height * width
    if channels_first:
        return _operand(x, channels, n, size, channels * size, 1)
    return _operand(x, n, channels, channels * size, size, 1)


def _of_maps(maps: Tensor, *, transposed: bool = False) -> _Operand:
    """(H·W, C_in, C_out) as an operand: channels out are its rows and channels in its terms, or the other way round."""
    _, c_in, c_out = maps.shape
    if transposed:
        return _operand(maps, c_in, c_out, c_out, 1, c_in * c_out)
    return _operand(maps, c_out, c_in, 1, c_out, c_in * c_out)


def _operand(tensor: Tensor, rows: int, terms: int, by_row: int, by_term: int, by_place: int) -> _Operand:
    operand = _Operand(tensor.data_ptr(), by_row, by_term, by_place)
    operand.rows, operand.terms = rows, terms
    return operand


def _products(
    left: _Operand, right: _Operand, out: _Operand, x: Tensor, functions: Functions | None = None
) -> None:
    """out[left row, right row, place] = Σ over terms of left · right, at each place of x's planes."""
    _call(
        functions,
        "surgeon_products",
        *(
            left,
            right,
            out,
            left.rows,
            right.rows,
            left.terms,
            x.shape[2] * x.shape[3],
            torch.get_num_threads(),
        ),
    )


def _filter(
    m: Tensor, bias: Tensor | None, filtering: Filter, out: Tensor, functions: Functions | None = None
) -> Tensor:
    """Filter (N, C, H, W) into `out`, which may be `m`."""
    n, channels, height, width = m.shape
    (top, _), (left, _) = filtering.pads
    window = _Window(
        height, width, *filtering.kernel, top, left, *filtering.middle, filtering.box, filtering.centre
    )
    b = None if bias is None else bias.data_ptr()
    places = m.data_ptr(), b, out.data_ptr()
    _call(functions, "surgeon_filtered", *places, n, channels, window, torch.get_num_threads())
    return out


def _call(functions: Functions | None, name: str, *arguments: Any) -> None:
    """Call one of the functions, those of the library if none are given."""
    functions = functions or library()
    assert functions is not None  # `takes` asked
    if functions[name](*arguments):
        raise MemoryError("a weight map found no memory for what it packs")


def _places(x: Tensor) -> Tensor:
    """(N, C, H, W) as (H·W, N, C), by operations that gradients and batches of gradients go through."""
    n, channels, height, width = x.shape
    return (
        x.permute(2, 3, 0, 1).clone(memory_format=torch.contiguous_format).view(height * width, n, channels)
    )


def _dense(x: Tensor) -> Tensor:
    """A tensor whose memory holds its numbers, row by row."""
    return x.detach().resolve_neg().contiguous()


@functools.cache
def library() -> Functions | None:
    """The functions of planes.c, once they gave the right numbers; a warning says why there is nothing.

    Returns:
        Functions by name, or None where nothing is or can be compiled.
    """
    return functions_of(Path(__file__).with_name("planes.c"), "weight maps", _declared)


def _declared(code: ctypes.CDLL) -> Functions:
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    code.surgeon_products.argtypes = [*[_Operand] * 3, *[integer] * 4, ctypes.c_int]
    code.surgeon_filtered.argtypes = [*[pointer] * 3, *[integer] * 2, _Window, ctypes.c_int]
    functions = {name: getattr(code, name) for name in FUNCTIONS}
    if not are_right(functions):
        raise OSError("what was compiled gives wrong numbers")
    return functions


def are_right(functions: Functions) -> bool:
    """Say whether functions multiply and filter small tensors as torch does.

    Args:
        functions: Those of planes.c.

    Returns:
        Whether they do.
    """
    maps, x = numbers(6, 1, 5), numbers(2, 1, 2, 3)
    m, out = blank(2, 5, 2, 3), blank(2, 5, 2, 3)
    filtering = Filter((3, 3), ((1, 1), (1, 1)), -1.0, 2.0)
    _products(_of_maps(maps), _of_planes(x), _of_planes(m, channels_first=True), x, functions)
    _filter(m, None, filtering, out, functions)
    product = torch.einsum("nip,pio->nop", x.flatten(2), maps).view_as(m)
    return torch.allclose(m, product, atol=1e-5) and torch.allclose(
        out, plainly(product, filtering), atol=1e-4
    )
