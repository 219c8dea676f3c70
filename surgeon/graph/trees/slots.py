"""Where an object has an attribute that is not in its `__dict__`: in a slot of its class, or wherever code of its
class's own gets it from."""

from __future__ import annotations

import copyreg
import types
from collections.abc import Iterator
from typing import Any

MISSING: Any = object()
_LIBRARIES = ("torch", "surgeon")


def member_of(kind: type, name: str) -> Any:
    """What a class, or one above it, has under a name; MISSING where there is nothing."""
    return next((vars(c)[name] for c in kind.__mro__ if name in vars(c)), MISSING)


def in_slots(kind: type, name: str) -> bool:
    """Whether objects of a class have an attribute in a slot."""
    return isinstance(member_of(kind, name), types.MemberDescriptorType)


def slots_of_class(kind: type) -> Iterator[str]:
    """The names of the slots that objects of a class have."""
    for one in kind.__mro__:
        for name, member in vars(one).items():
            if isinstance(member, types.MemberDescriptorType) and not name.startswith("__"):
                yield name


def slots_of(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object keeps in slots, and not in its `__dict__`: (name, value)."""
    for name in copyreg._slotnames(type(value)):  # type: ignore[attr-defined]  # what copy and pickle ask
        if hasattr(value, name):
            yield name, getattr(value, name)


def by_descriptor(kind: type, name: str) -> bool:
    """Whether a class has a descriptor written in Python for an attribute, which may keep it anywhere. Of a property or
    a cached one it is known what its code reads."""
    member = type(member_of(kind, name))
    own = getattr(member, "__get__", None)
    return hasattr(member, "__set__") and _is_own(own)


def gets(kind: type, method: str) -> bool:
    """Whether a class gets attributes by code of its own: by a `__getattribute__` or a `__getattr__` in Python."""
    code = (vars(c)[method] for c in kind.__mro__ if method in vars(c))
    # a trace in another thread may have wrapped it (`asked.py`)
    own = (getattr(f, "__wrapped__", f) for f in code)
    return any(map(_is_own, own))


def _is_own(function: Any) -> bool:
    return isinstance(function, types.FunctionType) and not _of_library(function)


def _of_library(function: types.FunctionType) -> bool:
    return str(function.__module__).partition(".")[0] in _LIBRARIES
