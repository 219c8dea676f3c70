"""Continue with an optimizer that was built before the surgery."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from surgeon.errors import TrainingError


class Wrapping(Protocol):
    """A wrapper of an optimizer, such as accelerate's."""

    @property
    def optimizer(self) -> Any:
        """The optimizer, or another wrapper of it."""


@dataclass(frozen=True)
class Remapped:
    """The names of parameters that were kept with their state, dropped with it, and added.

    Examples:
        >>> from surgeon.training import Remapped
        >>> str(Remapped(kept=("0.weight",), dropped=(), added=("1.weight", "1.bias")))
        '1 parameters kept, 0 dropped, 2 added'
    """

    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.kept)} parameters kept, {len(self.dropped)} dropped, {len(self.added)} added"


def remap(optimizer: Optimizer | Wrapping, before: nn.Module, after: nn.Module) -> Remapped:
    """Make an optimizer that was built on `before` train the parameters of `after`; in place.

    Groups keep their settings and remain the same objects, so that schedulers continue to work. A parameter
    with the name and shape of an old one takes its place and its state (momentum, Adam's moments); one of
    another shape starts without state. A new parameter joins the group of an old one at the same site, or in
    the nearest module above it, and of the same kind: weights with weights, biases and other vectors with
    theirs. If the old ones at the site were not in the optimizer (frozen), the new ones are not added either.

    It works after `surgeon.apply`, `fold` and `revert`, and for any two modules that share names.

    Args:
        optimizer: The optimizer, or a wrapper that keeps it in `.optimizer` (accelerate's).
        before: The network that the optimizer was built on.
        after: The network to train.

    Returns:
        The names of kept, dropped and added parameters.

    Raises:
        TrainingError: The optimizer trains parameters that `before` does not have.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.training import remap
        >>> before = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        >>> after = nn.Sequential(before[0], nn.Linear(4, 3))
        >>> optimizer = torch.optim.SGD(before.parameters(), lr=0.1)
        >>> remap(optimizer, before, after).kept
        ('0.weight', '0.bias')
    """
    inner: Any = optimizer
    while not isinstance(getattr(inner, "state", None), dict) and hasattr(inner, "optimizer"):
        inner = inner.optimizer
    # By identity, since an optimizer knows its parameters by no name.
    old = {id(p): n for n, p in before.named_parameters(remove_duplicate=False)}
    unknown = sum(id(p) not in old for g in inner.param_groups for p in g["params"])
    if unknown:
        raise TrainingError(
            f"{unknown} of the optimizer's parameters are not the network's before the "
            "surgery; give the network that "
            "it was built on"
        )
    names = _names(before)
    place = {
        n: g for g, group in enumerate(inner.param_groups) for p in group["params"] for n in names[id(p)]
    }
    state = {
        n: inner.state.get(p) for group in inner.param_groups for p in group["params"] for n in names[id(p)]
    }
    shapes = {n: p.shape for n, p in before.named_parameters(remove_duplicate=False)}
    new = _by_one_name(after, place)
    known = {n for n in new if n in shapes}
    groups: list[list[str]] = [[] for _ in inner.param_groups]
    kept: list[str] = []
    added: list[str] = []
    for name, parameter in new.items():
        # A known parameter that is in no group was left out on purpose, as where it is frozen.
        if name in known:
            if name not in place:
                continue
            groups[place[name]].append(name)
            (kept if parameter.shape == shapes[name] else added).append(name)
            continue
        group = _group(name, parameter, place, shapes)
        if group is not None:
            groups[group].append(name)
            added.append(name)
    # Groups and the optimizer are changed in place: schedulers and wrappers hold references to them.
    inner.state.clear()
    for group, own in zip(inner.param_groups, groups, strict=True):
        group["params"] = [new[n] for n in own]
        if "param_names" in group:
            group["param_names"] = list(own)
    given: set[int] = set()
    for name in kept:
        if its := state.get(name):
            # Of two parameters that were one, each goes on with a state of its own.
            its = copy.deepcopy(its) if id(its) in given else its
            given.add(id(its))
            inner.state[new[name]] = {k: _moved(v, new[name]) for k, v in its.items()}
    dropped = [n for n in place if n not in new or n in added]
    return Remapped(tuple(kept), tuple(dropped), tuple(added))


def _by_one_name(model: nn.Module, trained: Collection[str]) -> dict[str, nn.Parameter]:
    """Each parameter by its first name, or for a tied one by the first that the optimizer trained."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = _names(model).values()
    return {
        name: parameters[name] for name in (next((n for n in own if n in trained), own[0]) for own in names)
    }


def _names(model: nn.Module) -> dict[int, list[str]]:
    """All names of each parameter: a tied one has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return names


def _group(name: str, parameter: Tensor, place: dict[str, int], shapes: dict[str, Any]) -> int | None:
    """The group of the nearest old parameters, at the site or in the modules above it; None if frozen."""
    vector = parameter.dim() <= 1 or name.endswith(".bias")
    above = name.rpartition(".")[0]
    while above:
        near = [n for n in shapes if n.startswith(f"{above}.")]
        if near:
            trained = [n for n in near if n in place]
            if not trained:
                return None
            return place[next(iter(_alike(trained, vector, shapes)), trained[0])]
        above = above.rpartition(".")[0]
    everywhere = [n for n in shapes if n in place]
    return place[next(iter(_alike(everywhere, vector, shapes)), everywhere[0])] if everywhere else None


def _alike(names: Iterable[str], vector: bool, shapes: dict[str, Any]) -> list[str]:
    return [n for n in names if (len(shapes[n]) <= 1) == vector]


def _moved(value: object, parameter: Tensor) -> object:
    return value.to(parameter.device) if isinstance(value, Tensor) and value.dim() else value
