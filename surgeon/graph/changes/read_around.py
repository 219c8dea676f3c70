"""Whether a network's code reads or sets attributes in a way that nobody hears: by a call of
`object.__getattribute__` or `object.__setattr__` itself.

Functions that its classes have, and what these name, are looked through: other functions, also in objects, modules and
containers, and methods of other classes. Which attribute it is, and of what, the code does not say.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from surgeon.graph.changes.unchecked import CHECKED

_LIBRARIES = {*sys.stdlib_module_names, *CHECKED, "numpy"} - {"__main__"}
_CALLED = ("__call__", "__enter__", "__exit__", "__iter__", "__getitem__")
"""Methods with underscores that code runs otherwise than by reading an attribute."""
_METHODS = (types.WrapperDescriptorType, types.MethodWrapperType)
_PLAIN = (int, float, complex, str, bytes, torch.Tensor, torch.dtype, torch.Size, type(None))
_MOST = 5000
"""How many values are looked at."""


def around(method: str, kinds: Iterable[type], values: Iterable[Any] = ()) -> bool:
    """Whether code of classes, of other values, or of what they name, calls a method such as `__getattribute__`
    itself."""
    seen: dict[int, Any] = {}  # kept alive, so that no other value gets its id
    todo: list[Any] = [*kinds, *values]
    while todo and len(seen) < _MOST:
        value = todo.pop()
        if isinstance(value, _PLAIN) or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, _METHODS) and value.__name__ == method:
            return True
        if isinstance(value, types.FunctionType) and not _of_library(value):
            names = {*_names(value.__code__)}
            if method in names:
                return True
            todo += _named(value, names)
        elif not isinstance(value, types.FunctionType):
            todo += _within(value)
    return False


def _named(function: types.FunctionType, names: set[str]) -> Iterator[Any]:
    """What a function may call: by global names, out of what it closes over, and its defaults."""
    held = [function.__globals__[n] for n in names if n in function.__globals__]
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # nothing is in it yet
            continue
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for value in held:
        if isinstance(value, types.ModuleType):  # of a module what the function names
            yield from (vars(value)[n] for n in names if n in vars(value) and not _of_library(vars(value)[n]))
        else:
            yield value


def _within(value: Any) -> Iterable[Any]:
    """The functions and objects in a value."""
    if isinstance(value, type):
        own = (c for c in value.__mro__ if not _of_library(c))
        return [f for c in own for n, f in vars(c).items() if n in _CALLED or not n.startswith("__")]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, types.SimpleNamespace):
        return list(vars(value).values())
    if isinstance(value, (staticmethod, classmethod, types.MethodType)):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget]
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, functools.partial):
        return [value.func, *value.args]
    if isinstance(value, functools._lru_cache_wrapper):
        return [value.__wrapped__]
    return [] if _of_library(type(value)) else [type(value)]


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _names(inner)


def _of_library(value: Any) -> bool:
    return str(getattr(value, "__module__", None) or "").partition(".")[0] in _LIBRARIES
