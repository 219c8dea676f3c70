"""Classes whose own `train` or `eval` does more than to set the mode.

Weights that are merged for evaluation (RepVGG, loralib), and buffers that are made for it (e2cnn), are there once
`eval()` has been called, and not where `training` alone was set. Looks, traces and fits set `training` alone, since
what such a method does cannot be undone bit for bit; so a network that would change comes in evaluation mode.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import MethodType
from typing import Any

import torch
from torch import nn

from surgeon.errors import SurgeryError
from surgeon.graph.own_attributes import GRAPH_STATE, OWN, RECORD
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
        tried = copy.deepcopy(model)
        _without_functions(tried)
        before = _looks(tried)
        tried.eval()
    except Exception:  # no copy, or no change of the mode, of other people's code: said where that is needed
        return
    for name, (kind, now) in _looks(tried).items():
        _, old = before.get(name, (kind, None))
        if what := _difference(old, now):
            raise SurgeryError(
                f"{name or 'the network'}: this {kind} changes in its own eval() ({what}), and the network is in "
                f"training mode, in which it is not what it is in evaluation: call model.eval() first, and train() on "
                f"what comes of it"
            )


def in_evaluation(model: nn.Module) -> nn.Module:
    """Return a network whose own `eval()` was called, which is a copy if a class in it has one of its own."""
    return copy.deepcopy(model).eval() if any(map(has_own, model.modules())) else model


def _without_functions(network: nn.Module) -> None:
    """Have functions that were put on an object as its `train` do nothing: they may hold the network copied from."""
    for module in network.modules():
        for name in METHODS:
            method = module.__dict__.get(name)
            if method is not None and not (isinstance(method, MethodType) and method.__self__ is module):
                module.__dict__[name] = lambda mode=True, module=module: module


_Look = dict[str, Any]


def _looks(network: nn.Module) -> Mapping[str, tuple[str, _Look]]:
    """Each module's class, and its tensors, children and other attributes but for the mode."""
    return {n: (type(m).__name__, dict(_look(m))) for n, m in network.named_modules()}


def _look(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for key, value in module.__dict__.items():
        if key in _TENSORS:
            yield from (
                (n, t if t is None or not has_values(t) else t.detach().clone()) for n, t in value.items()
            )
        elif key == "_modules":
            yield from ((n, (id(m), type(m))) for n, m in value.items())
        elif key not in _NOT_ITS:
            yield key, copy.copy(value) if isinstance(value, (dict, list, set)) else value


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
    try:
        return bool(one == other)
    except Exception:  # of other people's classes, arrays among them
        return False


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.is_floating_point():
        one, other = one.nan_to_num(), other.nan_to_num()
    return torch.equal(one, other)
