"""Attributes that a network's code read while it was traced: their values are in the graphs.

A graph has no place where it would read them again. So a rewritten network compares them at each call, which is
quick where nothing changed, and has its graphs made anew where something did.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import operator
import sys
from collections import ChainMap, UserDict, UserList
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from torch import nn

from surgeon import tree
from surgeon.graph.changes.anchors import inner_of, walk
from surgeon.graph.changes.exchanged import Change
from surgeon.graph.trees.remembered import IN_ORDER, Seen, copied, in_words, may_change, same
from surgeon.graph.trees.slots import MISSING, in_slots, slots_of_class

REGISTERED = ("_parameters", "_buffers", "_modules")
"""The dicts of a module that its attributes may be in beside its own."""
_DEEP = 5
"""How many names may lead from a module to an object, as in `self.config.model.stages[0]`."""


@dataclass(frozen=True)
class Settings:
    """Attributes of modules, and of objects that modules hold, with what they were when the graphs were made.

    names: (the module's path, the attribute, or `object.attribute`). held: the dicts that have them. contents: what was
    in lists, dicts and sets, by place among the names.
    """

    names: tuple[tuple[str, str], ...]
    held: tuple[dict[str, Any], ...]
    keys: tuple[str, ...]
    values: tuple[Any, ...]
    contents: tuple[tuple[int, Any], ...]

    def stands(self) -> bool:
        """Whether they are what they were. It is asked at every call."""
        now = map(dict.get, self.held, self.keys, itertools.repeat(MISSING))
        if not all(map(operator.is_, now, self.values)):
            again = map(dict.get, self.held, self.keys, itertools.repeat(MISSING))
            tensors = {place for place, old in self.contents if isinstance(old, Seen)}  # compared below
            if not all(i in tensors or same(v, self.values[i]) for i, v in enumerate(again)):
                return False
        return all(same(self.held[i].get(self.keys[i], MISSING), old) for i, old in self.contents)

    def change(self, network: nn.Module) -> Change | None:
        """Describe the first of them that changed in the modules that stand there now."""
        contents = dict(self.contents)
        for place, (path, name) in enumerate(self.names):
            held = holder(network, path, name)
            if held is None:
                continue  # its container says so
            key = self.keys[place]
            now, old = held.get(key, MISSING), contents.get(place, self.values[place])
            if not same(now, old):
                if now is MISSING and key in held.get("_modules", {}):
                    now = held["_modules"][key]
                for kind in REGISTERED:
                    name = name.removeprefix(f"{kind}.")
                return changed(network, path, name, old, now)
        return None


def changed(network: nn.Module, path: str, name: str, old: Any, now: Any) -> Change:
    """Describe an attribute that changed; MISSING stands for what the object has from its class alone."""
    whole = f"{path}.{name}" if path else name
    module = walk(network, path) if path else network
    kind = type(module).__name__
    if "." not in name and old is MISSING and callable(now) and hasattr(type(module), name):
        own = getattr(now, "__self__", None) is module
        way = "" if own else _TAKE_OFF.format(name=name)
        return Change(
            path, f"its {name} is {_origin(now)} that was put on the object, not {kind}'s own", True, way=way
        )
    if old is MISSING:
        return Change(whole, f"it was set to {in_words(now)} after the surgery", True)
    if now is MISSING:
        return Change(whole, f"it was {in_words(old)} at the surgery, and is gone", True)
    return Change(whole, f"{in_words(now)} in place of {in_words(old)}", True)


_TAKE_OFF = (
    "take it off (as del module.{name}; accelerate's by remove_hook_from_module(model, recurse=True)), or put it on "
    "what surgeon.fold or surgeon.revert gives"
)


def _origin(function: Any) -> str:
    """What a function is called and where it is written, also behind functools.partial."""
    while isinstance(function, functools.partial):
        function = function.func
    name, module_name = (
        getattr(function, "__name__", type(function).__name__),
        getattr(function, "__module__", None),
    )
    return f"{name} of {module_name}" if module_name else f"{name}"


def settings(network: nn.Module, names: Iterable[tuple[str, str]]) -> Settings | None:
    """What attributes are now, each by its module's path and its name; None without attributes."""
    held_at = [
        (path, name, held) for path, name in names if (held := holder(network, path, name)) is not None
    ]
    if not held_at:
        return None
    keys = tuple(name.rpartition(".")[2] for _, name, _ in held_at)
    values = tuple(held.get(key, MISSING) for (_, _, held), key in zip(held_at, keys, strict=True))
    return Settings(
        tuple((path, name) for path, name, _ in held_at),
        tuple(held for _, _, held in held_at),
        keys,
        values,
        tuple((i, copied(v)) for i, v in enumerate(values) if may_change(v)),
    )


def holder(network: nn.Module, path: str, name: str) -> dict[str, Any] | None:
    """The dict that has an attribute, of a module or of an object that one holds; None where that is gone."""
    owner = owner_of(network, path, name)
    return owner if isinstance(owner, dict) else getattr(owner, "__dict__", None)


def owner_of(network: nn.Module, path: str, name: str) -> Any:
    """The module, the object or the dict that has an attribute; None where that is gone."""
    module = walk(network, path) if path else network
    owner: Any = None if module is None else inner_of(module)
    for part in name.split(".")[:-1]:
        owner = _within(owner, part)
    return owner


def _within(owner: Any, part: str) -> Any:
    """What an object has under a name, or a list or a dict at a place; None where there is nothing."""
    if isinstance(owner, dict):
        return owner.get(part)
    if isinstance(owner, IN_ORDER):
        return owner[int(part)] if part.isdigit() and int(part) < len(owner) else None
    inner = getattr(owner, "__dict__", {}).get(part)
    return getattr(owner, part, None) if inner is None and in_slots(type(owner), part) else inner


def objects(network: nn.Module, depth: int = _DEEP) -> Iterator[tuple[str, str, Any]]:
    """Objects of classes written in Python that modules hold, such as configurations, also in lists, dicts and other
    objects, each once: the module's path, the attribute's name, and the object. What lies deeper than `depth` is
    left out."""
    seen: set[int] = set()
    for path, module in tree.modules(network):
        own = [(k, v) for k, v in module.__dict__.items() if k not in _OF_TORCH]
        yield from _objects(path, "", own, depth, seen)


_OF_TORCH = frozenset(nn.Module().__dict__)
_HEAP = 1 << 9  # a class that Python code made
_LIBRARIES = sys.stdlib_module_names | {"torch", "surgeon", "numpy"}
"""Whose objects are no settings of a network's, but for `_SETTINGS`."""
_SETTINGS = (argparse.Namespace, ChainMap, UserDict, UserList)


def _objects(
    path: str, prefix: str, own: Iterable[tuple[Any, Any]], depth: int, seen: set[int]
) -> Iterator[tuple[str, str, Any]]:
    for key, value in own:
        if id(value) in seen or "." in str(key):
            continue
        inner: Iterable[tuple[Any, Any]]
        if isinstance(value, dict):
            inner = ((k, v) for k, v in value.items() if isinstance(k, str))
        elif isinstance(value, IN_ORDER):
            inner = enumerate(value)
        elif isinstance(value, SimpleNamespace):
            inner = vars(value).items()
        elif _is_of_settings(value):
            slots = ((k, getattr(value, k)) for k in slots_of_class(type(value)) if hasattr(value, k))
            inner = itertools.chain(getattr(value, "__dict__", {}).items(), slots)
            yield path, f"{prefix}{key}", value
        else:
            continue
        seen.add(id(value))
        if depth > 1:
            yield from _objects(path, f"{prefix}{key}.", inner, depth - 1, seen)


def _is_of_settings(value: Any) -> bool:
    """Whether an object is of a class written in Python that may hold what a network's code reads."""
    kind = type(value)
    if not kind.__flags__ & _HEAP or isinstance(value, (nn.Module, type)):
        return False
    if kind.__module__.partition(".")[0] in _LIBRARIES and not isinstance(value, _SETTINGS):
        return False
    own = getattr(value, "__dict__", None)
    return type(own) is dict or (own is None and any(slots_of_class(kind)))
