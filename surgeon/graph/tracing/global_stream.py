"""Notice code that seeds, reads or restores torch's global random stream while it is traced.

`torch.manual_seed`, `get_rng_state`, `set_rng_state`, `seed`, `initial_seed` and `fork_rng` act on it when they are
called; a graph holds the draws between them alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch


class _Asked:
    """Stands for torch's generator in `torch.random`, and calls `first` before it is used."""

    def __init__(self, generator: torch.Generator, first: Callable[[], None]) -> None:
        self._generator, self._first = generator, first

    def __getattr__(self, name: str) -> Any:
        self._first()
        return getattr(self._generator, name)


@contextlib.contextmanager
def asked(first: Callable[[], None]) -> Iterator[None]:
    """In this block `first` is called before functions of `torch.random` use the stream."""
    generator = torch.random.default_generator
    torch.random.default_generator = _Asked(generator, first)  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.random.default_generator = generator
