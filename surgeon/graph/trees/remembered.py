"""Values of attributes as they were: kept, compared with those of now, and shown in messages."""

from __future__ import annotations

import functools
import numbers
from collections import deque
from types import SimpleNamespace
from typing import Any

import torch

from surgeon.graph.trees.slots import MISSING

IN_ORDER = (list, tuple, deque)
WITHOUT_ORDER = (set, frozenset)
PLAIN = (numbers.Number, str, bytes, slice, range, torch.device)
_MUTABLE = (list, deque, set, dict)


class Seen:
    """A tensor as it was. One that was written into, or exchanged, and has the same values counts as the same."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.writes = tensor, _writes(tensor)
        self.values = tensor.detach().clone()

    def __repr__(self) -> str:
        return repr(self.values)

    def stands(self, now: Any) -> bool:
        """Whether this is the tensor, with the values that it had."""
        if now is self.tensor and _writes(now) == self.writes >= 0:
            return True
        if not isinstance(now, torch.Tensor) or (now.shape, now.dtype) != (
            self.values.shape,
            self.values.dtype,
        ):
            return False
        if now.is_meta or self.values.is_meta:
            return True  # without values; those that graphs hold are kept aside
        try:
            alike = torch.equal(now.detach(), self.values.to(now.device))
        except (RuntimeError, NotImplementedError):
            return True  # what stands for a tensor where code is traced or transformed
        if alike:
            self.tensor, self.writes = now, _writes(now)
        return alike


def _writes(tensor: torch.Tensor) -> int:
    """How often a tensor was written into; -1 where nobody counts."""
    return -1 if tensor.is_inference() else tensor._version


def same(now: Any, old: Any) -> bool:
    """Whether a value is what it was: plain ones and what is in containers by value, others by being the same object,
    bound methods by their function; tensors by their values."""
    if now is old:
        return True
    if isinstance(old, Seen):
        return old.stands(now)
    # `old` holds a namespace's content as a dict, copied when the graphs were made.
    if isinstance(now, SimpleNamespace):
        now = vars(now)
    if isinstance(now, dict) or isinstance(old, dict):
        both = isinstance(now, dict) and isinstance(old, dict) and now.keys() == old.keys()
        return both and all(same(now[k], old[k]) for k in old)
    if isinstance(old, IN_ORDER):
        alike = isinstance(now, IN_ORDER) and len(now) == len(old)
        return alike and all(map(same, now, old))
    if isinstance(old, WITHOUT_ORDER):
        return isinstance(now, WITHOUT_ORDER) and now == old
    if type(now) is not type(old):
        return False
    if isinstance(old, functools.partial):
        return same(now.func, old.func) and same(now.args, old.args) and same(now.keywords, old.keywords)
    # A bound method is a new object at each access, so that identity says nothing.
    if hasattr(old, "__func__") and hasattr(old, "__self__"):
        return now.__func__ is old.__func__
    return isinstance(old, PLAIN) and bool(now == old)


def may_change(value: Any, depth: int = 4) -> bool:
    if isinstance(value, tuple):
        return depth > 0 and any(may_change(v, depth - 1) for v in value)
    return isinstance(value, (*_MUTABLE, SimpleNamespace, functools.partial, torch.Tensor))


def copied(value: Any, depth: int = 4) -> Any:
    """Containers copied, and what is in them as it is, but for tensors, whose values are kept."""
    if isinstance(value, torch.Tensor):
        return Seen(value)
    if not depth:
        return value
    if isinstance(value, functools.partial):
        args = (copied(v, depth - 1) for v in value.args)
        named = {k: copied(v, depth - 1) for k, v in value.keywords.items()}
        return functools.partial(value.func, *args, **named)
    if isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, dict):
        return {k: copied(v, depth - 1) for k, v in value.items()}
    if isinstance(value, IN_ORDER):
        return (tuple if isinstance(value, tuple) else list)(copied(v, depth - 1) for v in value)
    return set(value) if isinstance(value, WITHOUT_ORDER) else value


def in_words(value: Any) -> str:
    """A value as messages show it."""
    if value is MISSING:
        return "nothing"
    if isinstance(value, (type(None), *PLAIN, Seen, torch.Tensor, *IN_ORDER, *WITHOUT_ORDER, dict)):
        text = " ".join(repr(value).split())
        return text if len(text) <= 60 else f"{text[:60]}…"
    return str(getattr(value, "__name__", "") or type(value).__name__)
