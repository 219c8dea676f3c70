"""Normal numbers from a random stream of torch, drawn along vectors on a CPU.

torch takes one number after the other out of its Mersenne twister, which is most of a noisy layer's time. `normal.c`
has the same twister and formula: the numbers are those of `Tensor.normal_` up to rounding, and the stream is left in
the same state.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from surgeon.tensors import native
from surgeon.tensors.native import Functions, blank, functions_of

_FEWEST = 8192
"""Numbers from which on it is faster: the stream's state is read and written at each call."""
_WORDS = 624
_NEXT, _FIRST = 2, 3
"""Where torch's state has the next word, and the first: it is 64-bit numbers, of which the second is two of 32 bits."""
_lock = threading.RLock()
"""Two threads must not take the same numbers out of torch's global stream."""
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class _Twister(ctypes.Structure):
    """The `Twister` of normal.c."""

    _fields_ = (("words", ctypes.c_uint32 * _WORDS), ("next", ctypes.c_int64))


def fill_normal(noise: Tensor, sigma: float = 1.0, stream: torch.Generator | None = None) -> Tensor:
    """Write N(0, σ²) into a tensor, as `noise.normal_(0, sigma, generator=stream)` does.

    Args:
        noise: The tensor.
        sigma: σ.
        stream: The stream; None is torch's global one.

    Returns:
        `noise`.
    """
    # Of a sigma below 0 torch says what is wrong.
    functions = library() if takes(noise, stream) and sigma >= 0 else None
    if functions is None:
        return noise.normal_(0, sigma, generator=stream)
    _fill(functions, noise, sigma, torch.default_generator if stream is None else stream)
    return noise


def unit_normal(shape: Sequence[int], device: torch.device, stream: torch.Generator | None = None) -> Tensor:
    """Draw N(0, 1) in float32, as torch.randn does, also under vmap.

    Args:
        shape: Shape of the tensor.
        device: Where it is to be.
        stream: The stream; None is torch's global one.

    Returns:
        The tensor.
    """
    noise = torch.empty(shape, dtype=torch.float32, device=device)
    if takes(noise, stream):
        return fill_normal(noise, 1.0, stream)
    return torch.randn(shape, dtype=torch.float32, device=device, generator=stream)


def takes(noise: Tensor, stream: torch.Generator | None) -> bool:
    """Say whether numbers can be drawn by compiled code into a tensor.

    Args:
        noise: The tensor.
        stream: The stream, or None.

    Returns:
        Whether they can, where something can be compiled.
    """
    return (
        native.takes(noise)
        and (stream is None or stream.device.type == "cpu")
        and not noise.requires_grad
        and not noise.is_neg()
        and noise.numel() >= _FEWEST
        and noise.is_contiguous()  # else torch draws in another way
    )


def _fill(functions: Functions, noise: Tensor, sigma: float, stream: torch.Generator) -> None:
    """Draw, and draw again where another thread or a signal's handler drew from the stream meanwhile."""
    while True:
        before = stream.get_state()
        after = _drawn(functions, noise, sigma, before)
        with _lock:
            if torch.equal(stream.get_state(), before):
                stream.set_state(after)
                return


def _drawn(functions: Functions, noise: Tensor, sigma: float, before: Tensor) -> Tensor:
    """Draw from a state of a stream, and return the state after it."""
    state = before.clone()
    numbers = state.numpy().view(np.int64)
    words = numbers[_FIRST : _FIRST + _WORDS]
    # How many words are left and one; 1 also before the first.
    left = numbers[_NEXT - 1 : _NEXT].view(np.int32)[:1]
    twister = _Twister(next=_WORDS if left[0] == 1 else min(max(int(numbers[_NEXT]), 0), _WORDS))
    view = np.frombuffer(twister.words, dtype=np.uint32)
    view[:] = words
    functions["surgeon_normals"](ctypes.byref(twister), noise.data_ptr(), noise.numel(), sigma)
    words[:] = view
    numbers[_NEXT] = twister.next
    left[0] = _WORDS + 1 - twister.next
    return state


@functools.cache
def library() -> Functions | None:
    """The function of normal.c, once it drew the numbers that torch draws; a warning says why there is nothing.

    Returns:
        It by its name, or None where nothing is or can be compiled.
    """
    return functions_of(Path(__file__).with_name("normal.c"), "noise layers", _declared)


def _declared(code: ctypes.CDLL) -> Functions:
    code.surgeon_normals.argtypes = [
        ctypes.POINTER(_Twister),
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_float,
    ]
    code.surgeon_normals.restype = None
    functions: Functions = {"surgeon_normals": code.surgeon_normals}
    if not draws_as_torch(functions):
        raise OSError("what was compiled draws other numbers than this torch")
    return functions


def draws_as_torch(functions: Functions) -> bool:
    """Say whether a function draws the numbers that torch does, and leaves the stream where torch leaves it.

    Args:
        functions: That of normal.c.

    Returns:
        Whether it does.
    """
    ours, theirs = (torch.Generator("cpu").manual_seed(7) for _ in range(2))
    for count in (16, 700, 1249):  # within the words of one state, beyond them, and no multiple of 16
        drawn, expected = blank(count), blank(count).normal_(0, 0.5, generator=theirs)
        _fill(functions, drawn, 0.5, ours)
        same = torch.allclose(drawn, expected, rtol=1e-4, atol=1e-5)
        if not same or not torch.equal(ours.get_state(), theirs.get_state()):
            return False
    return True
