"""Generators of Python's and numpy's random numbers that modules hold (`self.rng = numpy.random.default_rng(0)`)."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn


class HeldStreams:
    """Those of some networks, and what they would draw next."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        numpy: Any = sys.modules.get("numpy.random")
        held = [v for n in networks for m in n.modules() for v in m.__dict__.values()]
        self._ways: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        for value in held:
            if isinstance(value, random.Random):
                self._ways.append((value.getstate, value.setstate))
            elif numpy is not None and isinstance(value, numpy.RandomState):
                self._ways.append((value.get_state, value.set_state))
            elif numpy is not None and isinstance(value, numpy.Generator):
                bits = value.bit_generator
                self._ways.append(
                    (lambda b=bits: copy.deepcopy(b.state), lambda s, b=bits: setattr(b, "state", s))  # type: ignore[misc]
                )

    def states(self) -> list[Any]:
        """What each would draw next."""
        return [get() for get, _ in self._ways]

    def put_back(self, states: list[Any]) -> None:
        """Have them draw again from these."""
        for (_, put), state in zip(self._ways, states, strict=True):
            put(state)
