"""Classes whose own `train` or `eval` does more than to set the mode.

Weights that are merged for evaluation (RepVGG, loralib), and buffers that are made for it (e2cnn), are there once
`eval()` has been called, and not where `training` alone was set. Looks, traces and fits set `training` alone, since
what such a method does cannot be undone bit for bit; so a network that would change comes in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MethodType
from typing import Any

import torch
from torch import nn

from surgeon.errors import SurgeryError
from surgeon.graph.trees.own_attributes import GRAPH_STATE, OWN, RECORD
from surgeon.graph.trees.paths import has
from surgeon.graph.trees.twin import twin
from surgeon.kept_modes import METHODS, has_own
from surgeon.values import has_values

_TENSORS = ("_parameters", "_buffers")
_NOT_ITS = frozenset((*nn.Module().__dict__, *OWN, *RECORD, *GRAPH_STATE))


def demand_settled(model: nn.Module) -> None:
    """Check that a network's evaluation needs no more than that `training` is False.

    Raises SurgeryError for a network in training mode that changes when its own `eval()` is called; it names the
    module and what becomes of it. The call is tried on a copy.
    """
    if not any(m.training and has_own(m) for m in model.modules()):
        return
    try:
        tried = twin(model, {})
        _without_functions(tried)
        before = _looks(tried)
        tried.eval()
    except (
        Exception
    ):  # people's code may refuse to be copied or to change its mode: reported where it matters
        return
    for name, now in _looks(tried).items():
        if what := _difference(before.get(name), now):
            owner = _whose(model, name)
            kind = type(model.get_submodule(owner)).__name__
            inside = f"{name[len(owner) :].lstrip('.')}." if len(name) > len(owner) else ""
            raise SurgeryError(
                f"{owner or 'the network'}: the eval() of this {kind} changes more than its mode ({inside}{what}), "
                f"and the network is in training mode, in which it is not what it is in evaluation: call "
                f"model.eval() first, and train() on what comes of it"
            )


def _whose(model: nn.Module, name: str) -> str:
    """The innermost module with an `eval` or `train` of its own in which a module lies."""
    parts = name.split(".") if name else []
    paths = [".".join(parts[:n]) for n in range(len(parts), -1, -1)]
    there = [p for p in paths if has(model, p)]
    return next((p for p in there if has_own(model.get_submodule(p))), there[0])


def in_evaluation(model: nn.Module) -> nn.Module:
    """Return a network whose own `eval()` was called, which is a copy if a class in it has one of its own."""
    return twin(model, {}).eval() if any(map(has_own, model.modules())) else model


def _without_functions(network: nn.Module) -> None:
    """Have functions that were put on an object as its `train` do nothing: they may hold the network copied from."""
    for module in network.modules():
        for name in METHODS:
            method = module.__dict__.get(name)
            if method is not None and not (isinstance(method, MethodType) and method.__self__ is module):
                module.__dict__[name] = lambda mode=True, module=module: module


_Look = dict[str, Any]


def _looks(network: nn.Module) -> Mapping[str, _Look]:
    """Each module's tensors and children. Other attributes are read again when they change (`asked.py`)."""
    return {n: dict(_look(m)) for n, m in network.named_modules()}


def _look(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for key, value in module.__dict__.items():
        if key in _TENSORS:
            yield from ((n, _kept(t)) for n, t in value.items())
        elif key == "_modules":
            yield from ((n, (id(m), type(m))) for n, m in value.items())
        elif key not in _NOT_ITS and isinstance(value, torch.Tensor):
            yield key, _kept(value)


def _kept(value: torch.Tensor | None) -> torch.Tensor | None:
    return value.detach().clone() if value is not None and has_values(value) else value


def _difference(old: _Look | None, now: _Look) -> str:
    """What differs between two looks at one module, in words; "" if nothing does."""
    if old is None:
        return "it is new"
    for key in {**old, **now}:
        if key not in now:
            return f"{key} is gone"
        if key not in old:
            return f"{key} is new"
        if not _same(old[key], now[key]):
            return f"{key} is another"
    return ""


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if not (has_values(one) and has_values(other)):
            return one.shape == other.shape
        return one.shape == other.shape and one.dtype == other.dtype and _equal(one, other)
    return not isinstance(one, torch.Tensor) and not isinstance(other, torch.Tensor) and bool(one == other)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.is_floating_point():
        one, other = one.nan_to_num(), other.nan_to_num()
    return torch.equal(one, other)
