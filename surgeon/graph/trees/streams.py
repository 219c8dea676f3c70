"""Random streams beside torch's own: those of Python and numpy, and generators that modules hold.

`self.rng = numpy.random.default_rng(0)` is such a generator, and so is one in a list or dict that a module has.
"""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

_OF_TORCH = frozenset(nn.Module().__dict__)
_COMPARED = (int, str, bool, float, bytes, type(None))


class Streams:
    """Some random streams, and what they would draw next."""

    def __init__(self, streams: Iterable[Any]) -> None:
        """`streams`: generators of Python, numpy or torch, or the modules `random` and `numpy.random`."""
        self._ways = [_way(s) for s in streams]

    def states(self) -> list[Any]:
        """What each would draw next."""
        return [get() for get, _ in self._ways]

    def drew_since(self, states: list[Any]) -> bool:
        """Whether one would draw something else than in these states."""
        return _plain(self.states()) != _plain(states)

    def put_back(self, states: list[Any]) -> None:
        """Have them draw again from these."""
        for (_, put), state in zip(self._ways, states, strict=True):
            put(state)

    @contextlib.contextmanager
    def draw_again(self) -> Iterator[None]:
        """They go on after this block as if nothing had been drawn in it."""
        before = self.states()
        try:
            yield
        finally:
            if self.drew_since(before):
                self.put_back(before)


def of_process() -> list[Any]:
    """The streams of Python and of numpy, where that is in use."""
    return [random, *of_numpy()]


def of_numpy() -> list[Any]:
    """The stream of numpy, where that is in use."""
    numpy = sys.modules.get("numpy.random")
    return [] if numpy is None else [numpy]


def held_by(*networks: nn.Module) -> list[Any]:
    """The generators that modules hold, each once, of torch, Python and numpy."""
    by_id: dict[int, Any] = {}
    for module in (m for n in networks for m in n.modules()):
        for key, value in module.__dict__.items():
            if type(value) not in _COMPARED and key not in _OF_TORCH:
                by_id.update((id(s), s) for s in _inside(value))
    return list(by_id.values())


def draws_again() -> contextlib.AbstractContextManager[None]:
    """The random numbers of Python and numpy go on after this block as if nothing had been drawn in it."""
    return Streams(of_process()).draw_again()


def state_of(stream: Any) -> Any:
    """What a stream would draw next, as plain values."""
    return _plain(_way(stream)[0]())


def is_stream(value: Any) -> bool:
    """Whether a value is a generator of random numbers, of torch, Python or numpy, that can be put back."""
    if isinstance(value, (torch.Generator, random.Random)):
        return not isinstance(value, random.SystemRandom)  # whose draws nobody can repeat
    numpy: Any = sys.modules.get("numpy.random")
    return numpy is not None and isinstance(value, (numpy.RandomState, numpy.Generator))


def _plain(state: Any) -> Any:
    """A state in values that can be compared."""
    if type(state) in _COMPARED:
        return state
    if hasattr(state, "tobytes"):  # an array of numpy's
        return state.tobytes()
    if isinstance(state, torch.Tensor):
        return state.numpy().tobytes()
    if isinstance(state, dict):
        return {k: _plain(v) for k, v in state.items()}
    if isinstance(state, (tuple, list)) and not all(type(v) is int for v in state):
        return tuple(map(_plain, state))
    return state


def _inside(value: Any, depth: int = 3) -> Iterator[Any]:
    if is_stream(value):
        yield value
    elif depth and isinstance(value, (list, tuple, deque, dict)):
        for inner in list(value.values() if isinstance(value, dict) else value):
            yield from _inside(inner, depth - 1)


def _way(stream: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """How the state of a stream is read, and how it is set."""
    if hasattr(stream, "getstate"):
        return stream.getstate, stream.setstate
    if hasattr(stream, "get_state"):
        return stream.get_state, stream.set_state
    bits = stream.bit_generator
    return lambda: copy.deepcopy(bits.state), lambda state: setattr(bits, "state", state)
