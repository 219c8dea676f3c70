"""Modules that a network holds besides registering them: in lists, dicts and attributes that torch does not walk.

`self.order = [self.conv1, self.conv2]` calls the modules without their names. Where another module takes a place in
the tree, it takes that of its predecessor there too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from surgeon.graph.trees.slots import slots_of

_TORCHS = frozenset(nn.Module().__dict__)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, Tensor)
_DEEPEST = 4


def held_elsewhere(tree: nn.Module) -> set[int]:
    """Find modules that attributes hold besides the tree.

    Args:
        tree: The network.

    Returns:
        Their ids.
    """
    return {id(m) for holder in tree.modules() for v in _own(holder).values() for m in _modules(v, _DEEPEST)}


def refer(tree: nn.Module, now: Mapping[int, nn.Module]) -> None:
    """Have whatever holds a module besides the tree hold another one: lists and dicts in place, tuples made anew.

    Args:
        tree: The network, changed in place.
        now: id of a module → the one that takes its place.
    """
    for holder in tree.modules():
        for key, value in _own(holder).items():
            new = _exchanged(value, now, _DEEPEST)
            if new is not value:
                _set(holder, key, new)


def _own(module: nn.Module) -> dict[str, Any]:
    """A module's attributes, also those in slots, without those that torch makes."""
    own = (*module.__dict__.items(), *slots_of(module))
    return {k: v for k, v in own if k not in _TORCHS and not isinstance(v, _PLAIN)}


def _inner(value: Any) -> Mapping[Any, Any]:
    """What is held under keys: by a dict, or by an object as its attributes."""
    if isinstance(value, dict):
        return value
    known = isinstance(value, SimpleNamespace) or not type(value).__module__.startswith(("torch", "surgeon."))
    if not known or callable(value):
        return {}
    own = getattr(value, "__dict__", None)
    return {**(own if type(own) is dict else {}), **dict(slots_of(value))}


def _set(owner: Any, key: Any, value: Any) -> None:
    """Put a value under a key of a dict, or into an attribute of an object."""
    if isinstance(owner, dict):
        owner[key] = value
    elif key in getattr(owner, "__dict__", {}):
        owner.__dict__[key] = value
    else:
        object.__setattr__(owner, key, value)


def _modules(value: Any, depth: int) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif depth and not isinstance(value, _PLAIN):
        inner = value if isinstance(value, (list, tuple, deque, set, frozenset)) else _inner(value).values()
        for one in inner:
            yield from _modules(one, depth - 1)


def _exchanged(value: Any, now: Mapping[int, nn.Module], depth: int) -> Any:
    if isinstance(value, nn.Module):
        return now.get(id(value), value)
    if not depth or isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, deque)):
        for place, one in enumerate(value):
            new = _exchanged(one, now, depth - 1)
            if new is not one:
                value[place] = new
    elif isinstance(value, (tuple, set, frozenset)):
        # Tuples and sets have no places to write to, so they are made anew; but not where nothing changed, since code
        # may compare them by identity.
        made = [_exchanged(one, now, depth - 1) for one in value]
        if all(a is b for a, b in zip(made, value, strict=True)):
            return value
        if isinstance(value, set):
            value.clear()
            value.update(made)
            return value
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    else:
        for key, one in list(_inner(value).items()):
            new = _exchanged(one, now, depth - 1)
            if new is not one:
                _set(value, key, new)
    return value
