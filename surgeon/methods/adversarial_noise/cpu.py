"""The adversarial noise of eq. 4 on a CPU: one compiled function for the noise, and one for CANL's cache.

`noise.c` has both, for float32. They are for the cases that `gpu.py` is for: s(h) is that of one process's batch alone.
Other cases go the way of `maths.py` and `class_cache.py`, and so does everything where nothing can be compiled.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise import class_cache
from surgeon.methods.adversarial_noise.maths import deviation, noise_along
from surgeon.methods.adversarial_noise.rows import in_rows, like
from surgeon.tensors import native
from surgeon.tensors.native import Functions, blank, functions_of, numbers
from surgeon.tensors.recording import plain

_ODD_LABELS = 2
"""The answer of noise.c to labels that are not rows of the cache."""


def takes(h: Tensor, cache: Tensor | None = None) -> bool:
    """Say whether the noise can be computed here: contiguous rows of float32 numbers.

    Args:
        h: (N, ...).
        cache: CANL's cache, or None.

    Returns:
        Whether it can.
    """
    return (
        native.takes(h, *(() if cache is None else (cache,)))
        and h.numel() > 0
        and in_rows(h)
        and not h.is_neg()
        and library() is not None
    )


def perturbed(h: Tensor, gradient: Tensor, r: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return h + r s(h) g/‖g‖∞, eq. 4; rows of g that are zero or not finite give no noise.

    Args:
        h: (N, ...).
        gradient: Of the shape of `h`; or (classes, ...), with `labels`.
        r: (N,) or (1,).
        labels: (N,), contiguous int64: the row of `gradient` of each sample.

    Returns:
        (N, ...).
    """
    g = like(gradient, h).resolve_neg().float()
    out: Tensor = _Perturbed.apply(h, g, r.float().contiguous(), labels)
    return out


class _Perturbed(torch.autograd.Function):
    """Eq. 4 by compiled code; its backward pass is the identity."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, g: Tensor, r: Tensor, labels: Tensor | None) -> Tensor:
        out = torch.empty_like(h)
        _perturb(h, g, r, labels, out, library())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return gradient, None, None, None


def remember(cache: Tensor, gradient: Tensor, labels: Tensor, rank: Tensor) -> None:
    """Write the rows of a gradient that are to be cached into the cache.

    Args:
        cache: (classes, ...), written in place.
        gradient: (N, ...), brought into the memory layout of the cache.
        labels: (N,), contiguous int64.
        rank: (N,) int64, a permutation.
    """
    # Hooks of other code may have made another gradient of the batch's.
    fits = gradient.shape == (len(labels), *cache.shape[1:]) and rank.shape == labels.shape
    if not (fits and takes(cache) and native.takes(gradient) and plain(labels, rank)):
        return class_cache.write(cache, gradient, labels, rank)
    gradient = like(gradient, cache).resolve_neg()
    places = (t.data_ptr() for t in (cache, gradient, labels, rank.contiguous()))
    size = cache[0].numel()
    _called(library(), "surgeon_remembered", *places, len(labels), len(cache), size)
    return None


def _perturb(
    h: Tensor, g: Tensor, r: Tensor, labels: Tensor | None, out: Tensor, functions: Functions | None
) -> None:
    if len(r) not in (1, len(h)) or g.shape[1:] != h.shape[1:]:
        raise LayerError(
            f"{len(r)} magnitudes and gradients of {tuple(g.shape)} are not of a batch of {tuple(h.shape)}"
        )
    given = (h, g, labels, r, out)
    if not plain(*(t for t in given if t is not None)) or (labels is not None and len(labels) != len(h)):
        raise LayerError(
            "adversarial noise was given tensors whose memory was freed, or labels of another batch"
        )
    places = [t if t is None else t.data_ptr() for t in given]
    sizes = len(h), len(g), h.numel() // len(h), len(r) == 1, torch.get_num_threads()
    _called(functions, "surgeon_perturbed", *places, *sizes)


def _called(functions: Functions | None, name: str, *arguments: Any) -> None:
    assert functions is not None  # `takes` asked
    answer = functions[name](*arguments)
    if answer == _ODD_LABELS:
        raise LayerError(
            "labels are not among the classes of the cache; were they changed in place since set_labels?"
        )
    if answer:
        raise MemoryError("adversarial noise found no memory for its statistics")


@functools.cache
def library() -> Functions | None:
    """The functions of noise.c, once they gave the right numbers; a warning says why there is nothing.

    Returns:
        Functions by name, or None where nothing is or can be compiled.
    """
    return functions_of(Path(__file__).with_name("noise.c"), "adversarial noise", _declared)


def _declared(code: ctypes.CDLL) -> Functions:
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    code.surgeon_perturbed.argtypes = [*[pointer] * 5, *[integer] * 3, *[ctypes.c_int] * 2]
    code.surgeon_remembered.argtypes = [*[pointer] * 4, *[integer] * 3]
    functions = {name: getattr(code, name) for name in ("surgeon_perturbed", "surgeon_remembered")}
    if not are_right(functions):
        raise OSError("what was compiled gives wrong numbers")
    return functions


def are_right(functions: Functions) -> bool:
    """Say whether functions compute eq. 4 and the cache of small tensors as torch does.

    Args:
        functions: Those of noise.c.

    Returns:
        Whether they do.
    """
    h, g, r = numbers(3, 20), numbers(2, 20), numbers(2)[1:]
    labels, ranks = (torch.tensor(order, device="cpu") for order in ([1, 1, 0], [2, 0, 1]))
    out, cache = blank(3, 20), blank(2, 20)
    _perturb(h, g, r, labels, out, functions)
    expected = h + noise_along(g[labels], deviation(h), r)
    _called(functions, "surgeon_remembered", *(t.data_ptr() for t in (cache, h, labels, ranks)), 3, 2, 20)
    return torch.allclose(out, expected, atol=1e-5) and torch.equal(cache, h[[2, 0]])
