"""Reads, while a network is traced, of what the previous call left on its modules.

`self.mean = 0.9 * self.mean + 0.1 * h.mean()` reads the attribute and sets it. A graph sets it at each call, and would
go on from what the attribute was when it was traced. So a trace in which code sets such attributes is made a second
time, and a read that comes before the first write is refused.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import nn

from surgeon.errors import TraceError


@contextlib.contextmanager
def refused(names: Mapping[nn.Module, Collection[str]]) -> Iterator[None]:
    """In this block a read of these attributes raises TraceError, unless they were set in it before.

    Classes that are informed of their subclasses are left out.
    """
    kinds = {module: type(module) for module in names if _plain(type(module))}
    for module, kind in kinds.items():
        own = {name: _Attribute(name) for name in names[module]}
        watched: Any = type(kind)  # or a metaclass
        watched = watched(kind.__name__, (kind,), {"__module__": kind.__module__, **own})
        object.__setattr__(module, "__class__", watched)
    try:
        yield
    finally:
        for module, kind in kinds.items():
            object.__setattr__(module, "__class__", kind)


def _plain(kind: type) -> bool:
    """Whether a class does nothing to its subclasses, such as to register them."""
    notes = any("__init_subclass__" in vars(c) for c in kind.__mro__[:-1])
    return type(kind) in (type, abc.ABCMeta) and not notes


class _Attribute:
    """An attribute of one module that knows whether it was set."""

    def __init__(self, name: str) -> None:
        self._name, self._set = name, False

    def __get__(self, module: nn.Module, kind: type) -> Any:
        if not self._set:
            raise TraceError(f"it reads {self._name} as its last call left it, which a graph would not")
        return module.__dict__[self._name]

    def __set__(self, module: nn.Module, value: Any) -> None:
        self._set = True
        module.__dict__[self._name] = value

    def __delete__(self, module: nn.Module) -> None:
        self._set = True
        module.__dict__.pop(self._name, None)
