"""Attributes that a module's own code sets while it runs, such as the positions of an input of another size."""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable
from types import FunctionType

from torch import nn


@functools.cache
def made_while_running(kind: type[nn.Module]) -> frozenset[str]:
    """Return the names of the attributes that a module's code sets outside its constructor.

    Args:
        kind: the module's class; what torch.nn.Module itself does is left out.
    """
    return _set_by(kind, lambda name: name != "__init__")


@functools.cache
def made_in_use(kind: type[nn.Module]) -> frozenset[str]:
    """Return the names of the attributes that a module's code sets outside its constructor and what copies it.

    Args:
        kind: the module's class; what torch.nn.Module itself does is left out.
    """
    return _set_by(kind, lambda name: name not in ("__init__", "__setstate__"))


@functools.cache
def made_by_forward(kind: type[nn.Module]) -> frozenset[str]:
    """Return the names of the attributes that a module's `forward` sets.

    Args:
        kind: the module's class.
    """
    return _set_by(kind, lambda name: name == "forward")


def _set_by(kind: type[nn.Module], method: Callable[[str], bool]) -> frozenset[str]:
    own = [c for c in kind.__mro__ if issubclass(c, nn.Module) and c is not nn.Module]
    codes = [
        function.__code__
        for c in own
        for name, function in vars(c).items()
        if isinstance(function, FunctionType) and method(name)
    ]
    return frozenset(
        str(i.argval) for code in codes for i in dis.get_instructions(code) if i.opname == "STORE_ATTR"
    )
