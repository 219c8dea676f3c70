"""Attributes that a network's code read and that no `__dict__` has under their names: those in slots, and those that
code of the object's own class gets from somewhere.

They are asked for again at each call of the rewritten network, as the stock network's code would, and the graphs are
made anew where the answer is another (`following.py`). Code that read a whole `__dict__` may have looked for any name
in it, so that one which comes counts too. Networks without such objects pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from surgeon.graph.changes.exchanged import Change
from surgeon.graph.changes.settings import REGISTERED, changed, owner_of
from surgeon.graph.measuring.traced import CONSTANTS
from surgeon.graph.trees.own_attributes import OURS
from surgeon.graph.trees.remembered import IN_ORDER, PLAIN, WITHOUT_ORDER, copied, same
from surgeon.graph.trees.slots import MISSING, by_descriptor, gets, in_slots

WHOLE = "__dict__"
"""The name that stands for all attributes of a module or an object."""


@dataclass(frozen=True)
class Given:
    """Attributes as their owners gave them when the graphs were made.

    names: (the module's path, the attribute, or `object.attribute`).
    """

    names: tuple[tuple[str, str], ...]
    owners: tuple[Any, ...]
    keys: tuple[str, ...]
    values: tuple[Any, ...]

    def stands(self) -> bool:
        """Whether they are what they were. It is asked at every call."""
        return all(map(same, map(_get, self.owners, self.keys), self.values))

    def change(self, network: nn.Module) -> Change | None:
        """Describe the first of them that changed in the objects that stand there now."""
        for (path, name), key, old in zip(self.names, self.keys, self.values, strict=True):
            owner = owner_of(network, path, name)
            if owner is not None and not same(now := _get(owner, key), old):
                return changed(network, path, name, old, now)
        return None


@dataclass(frozen=True)
class Grown:
    """Objects whose `__dict__` the code read, and modules' parameters and buffers that it went through, with the names
    that were there; names: as of `Given`."""

    names: tuple[tuple[str, str], ...]
    owners: tuple[Any, ...]
    keys: tuple[frozenset[str], ...]

    def stands(self) -> bool:
        """Whether nothing came, and no tensor went. It is asked at every call."""
        return all(map(_as_before, self.owners, self.keys))

    def change(self, network: nn.Module) -> Change | None:
        """Describe the first attribute that came to the objects that stand there now, or went."""
        for (path, name), before in zip(self.names, self.keys, strict=True):
            owner = owner_of(network, path, name)
            if owner is not None and not _as_before(owner, before):
                held = owner if isinstance(owner, dict) else vars(owner)
                of_module = name.rpartition(".")[0] in REGISTERED
                within = "" if of_module else name.removesuffix(WHOLE)
                for key in sorted(_names(owner) - before):
                    return changed(network, path, within + key, MISSING, held[key])
                gone = within + min(before - _names(owner))
                return Change(f"{path}.{gone}" if path else gone, "it is gone", True)
        return None


def kept_elsewhere(network: nn.Module, names: Iterable[tuple[str, str]]) -> Iterator[Given | Grown]:
    """What attributes are now, of those that code read, where no `__dict__` says it."""
    given: list[tuple[tuple[str, str], Any, str, Any]] = []
    grown: list[tuple[tuple[str, str], Any, frozenset[str]]] = []
    for path, name in names:
        owner, key = owner_of(network, path, name), name.rpartition(".")[2]
        if owner is None:
            continue
        if key == WHOLE:
            grown.append(((path, name), owner, _names(owner)))
        elif in_slots(type(owner), key):
            given.append(((path, name), owner, key, copied(_get(owner, key))))
        elif _by_own_code(owner, key):
            value = copied(_get(owner, key))
            # what is another object at each reading cannot be compared
            if _is_plain(value) and same(_get(owner, key), value):
                given.append(((path, name), owner, key, value))
    if given:
        yield Given(*map(tuple, zip(*given, strict=True)))
    if grown:
        yield Grown(*map(tuple, zip(*grown, strict=True)))


def _by_own_code(owner: Any, key: str) -> bool:
    kind = type(owner)
    return (
        by_descriptor(kind, key)
        or gets(kind, "__getattribute__")
        or (gets(kind, "__getattr__") and key not in getattr(owner, WHOLE, {}))
    )


def _get(owner: Any, key: str) -> Any:
    try:
        return getattr(owner, key, MISSING)
    except Exception:  # the class's own code
        return MISSING


def _is_plain(value: Any, depth: int = 4) -> bool:
    """Whether a value is compared by what it is, and holds no tensor, which training changes."""
    if isinstance(value, (*IN_ORDER, *WITHOUT_ORDER)):
        return depth > 0 and all(_is_plain(v, depth - 1) for v in value)
    if isinstance(value, dict):
        return depth > 0 and all(_is_plain(v, depth - 1) for v in value.values())
    return value is None or value is MISSING or isinstance(value, PLAIN)


def _names(owner: Any) -> frozenset[str]:
    """The names of the tensors in a dict of a module's, or of an object's own attributes, without those that a
    rewritten network has for itself."""
    if isinstance(owner, dict):
        return frozenset(k for k, v in owner.items() if v is not None and not k.startswith(CONSTANTS))
    own = frozenset(vars(owner))
    return own - OURS if isinstance(owner, nn.Module) else own


def _as_before(owner: Any, before: frozenset[str]) -> bool:
    now = _names(owner)
    return now == before if isinstance(owner, dict) else now <= before
