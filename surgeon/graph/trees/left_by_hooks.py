"""Which attributes the hooks on a network's modules set, by the names in their code.

A trace calls no hooks, and a graph calls those of the modules that it calls. What a hook leaves as a tensor is
known by where it came from; a number, `module.gain = float(out.mean())`, is one like any other, and a graph would hold
what the run before left. So code that reads such an attribute stays as it is.
"""

from __future__ import annotations

import dis
import functools
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

from torch import nn

_CALLS = ("_forward_pre_hooks", "_forward_hooks")
_CHANGES = frozenset(
    ("append", "appendleft", "extend", "insert", "add", "update", "setdefault", "pop", "clear", "remove")
)
_DEPTH = 3
_LIBRARIES = ("torch", "surgeon")
_CONTAINERS = (list, dict, set, deque)


class LeftByHooks:
    """The names of attributes that hooks on calls of a network's modules set, and of those that may be containers
    whose items they set."""

    def __init__(self, network: nn.Module) -> None:
        self._names: set[str] = set()
        self._of_items: set[str] = set()
        for module in nn.Module.modules(network):
            for kind in _CALLS:
                for hook in module.__dict__[kind].values():
                    if not getattr(hook, "of_surgeon", False):
                        self._note(hook, _DEPTH)

    def has(self, name: str, value: Any) -> bool:
        """Whether a hook may have left the value under the name."""
        return name in self._names or (name in self._of_items and isinstance(value, _CONTAINERS))

    def _note(self, called: Any, depth: int) -> None:
        """What a function sets, and the functions that it calls of its own module or object."""
        if isinstance(called, functools.partial):
            self._note(called.func, depth)
            return
        function = getattr(called, "__func__", called)
        owner = getattr(called, "__self__", None)
        if not isinstance(function, types.FunctionType):
            own = type(called).__dict__.get("__call__")
            if isinstance(own, types.FunctionType):
                self._note(types.MethodType(own, called), depth)
            return
        if str(function.__module__).partition(".")[0] in _LIBRARIES:
            return
        names: set[str] = set()
        for code in _codes(function.__code__):
            self._note_names(code)
            names |= {*code.co_names, *code.co_freevars}
        for name in names if depth else ():
            for inner in _meant(name, function, owner):
                self._note(inner, depth - 1)

    def _note_names(self, code: types.CodeType) -> None:
        steps = list(dis.get_instructions(code))
        self._names |= {str(i.argval) for i in steps if i.opname in ("STORE_ATTR", "DELETE_ATTR")}
        if "setattr" in code.co_names or "__setattr__" in code.co_names:
            self._names |= {c for c in code.co_consts if isinstance(c, str) and c.isidentifier()}
        if _CHANGES & {*code.co_names} or any(i.opname in ("STORE_SUBSCR", "DELETE_SUBSCR") for i in steps):
            self._of_items |= {str(i.argval) for i in steps if i.opname == "LOAD_ATTR"}


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)


def _meant(name: str, function: types.FunctionType, owner: Any) -> Iterator[Any]:
    """The functions of Python that a name in a function's code may mean."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    if name in cells:
        try:
            value = cells[name].cell_contents
        except ValueError:  # not set yet
            return
        if isinstance(value, types.FunctionType):
            yield value
    value = function.__globals__.get(name)
    if isinstance(value, types.FunctionType) and value is not function:
        yield value
    method = getattr(type(owner), name, None) if owner is not None else None
    if isinstance(method, types.FunctionType) and method.__code__ is not function.__code__:
        yield types.MethodType(method, owner)
