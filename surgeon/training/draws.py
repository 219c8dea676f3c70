"""Random numbers of Python, numpy and torch that somebody's own data draw: functions of a position in the training."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from surgeon.training.randomness import seed_of

T = TypeVar("T")
_END = object()


class Streams(NamedTuple):
    """The states of the three global random streams.

    python: Of `random`. numpy: Of `numpy.random`. torch: Of torch's stream of the CPU.
    """

    python: Any
    numpy: Any
    torch: Tensor

    @classmethod
    def now(cls) -> Streams:
        """Return the present states."""
        import numpy

        return cls(random.getstate(), numpy.random.get_state(), torch.get_rng_state())

    def restore(self) -> None:
        """Make them the present ones."""
        import numpy

        random.setstate(self.python)
        numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)


def seed_all(*parts: object) -> None:
    """Seed the three streams, each by `seed_of`.

    Args:
        parts: As for `seed_of`.
    """
    import numpy

    seed = seed_of(*parts)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    # Not torch.manual_seed, which would seed the GPUs too, whose state is not given back here.
    torch.random.default_generator.manual_seed(seed)


@contextlib.contextmanager
def drawn_apart(*parts: object) -> Iterator[None]:
    """Seed the three streams, and give their states back at the end.

    Args:
        parts: As for `seed_of`.

    Yields:
        None.
    """
    before = Streams.now()
    seed_all(*parts)
    try:
        yield
    finally:
        before.restore()


def read_apart(values: Iterator[T], *parts: object) -> Iterator[T]:
    """Yield what an iterator gives, which draws from streams of its own: no code between two values draws from them.

    Args:
        values: The iterator.
        parts: As for `seed_of`.

    Yields:
        Its values.

    Examples:
        >>> import random
        >>> from surgeon.training.draws import read_apart
        >>> numbers = read_apart((random.random() for _ in range(2)), 0, "numbers")
        >>> first, other = next(numbers), random.random()
        >>> again = read_apart((random.random() for _ in range(2)), 0, "numbers")
        >>> [first, next(numbers)] == list(again)
        True
    """
    with drawn_apart(*parts):
        own = Streams.now()
    while True:
        before = Streams.now()
        own.restore()
        try:
            value = next(values, _END)
        finally:
            own = Streams.now()
            before.restore()
        if value is _END:
            return
        yield value  # type: ignore[misc]  # it is no longer _END
