"""What other code keeps on a parameter itself, where another parameter takes its place.

A parameter may be frozen, carry attributes (`weight._no_weight_decay = True`, which optimizers ask for) and
call hooks with its gradient. torch's copies of a parameter keep the first of the three alone.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from surgeon.graph.trees.paths import has


def carry_over(parameters: Iterable[Tensor], memo: dict[int, Any]) -> None:
    """Give the copies of parameters the attributes and gradient hooks of the originals.

    Args:
        parameters: The parameters that were copied.
        memo: id of an object → its copy, as `copy.deepcopy` filled it; a parameter that is its own copy is
            left alone.
    """
    for old in parameters:
        new = memo.get(id(old))
        if isinstance(new, nn.Parameter) and new is not old:
            _carry(old, new, memo)


def take_after(new: nn.Module, old: nn.Module) -> None:
    """Freeze and mark the parameters of a module as those of the one whose place it takes.

    A parameter takes after those of the same last name, as `0.bias` after `bias`; one of a name that the old
    module has not, such as a weight map's `maps`, after its weight. Gradient hooks, which know a shape, go to
    a parameter of that shape alone.

    Args:
        new: The module, changed in place.
        old: The module that it replaces.
    """
    if not any(True for _ in old.parameters()):
        return
    kept = {id(p) for p in old.parameters()}
    for name, parameter in new.named_parameters():
        like = _counterparts(name, old)
        if id(parameter) in kept or not like:
            continue
        if not any(p.requires_grad for p in like):
            parameter.requires_grad_(False)
        if len(like) == 1:
            _carry(like[0], parameter, {})


def _counterparts(name: str, old: nn.Module) -> list[nn.Parameter]:
    """The parameters of `old` that a parameter takes after."""
    leaf = name.rpartition(".")[2]
    named = list(old.named_parameters())
    return (
        [p for n, p in named if n.rpartition(".")[2] == leaf]
        or [p for n, p in named if n.rpartition(".")[2] == "weight"]
        or [p for _, p in named]
    )


def _carry(old: Tensor, new: nn.Parameter, memo: dict[int, Any]) -> None:
    """Give one parameter what another has, where it has not got it already."""
    for key, value in old.__dict__.items():
        if key not in new.__dict__:
            new.__dict__[key] = _copied(value, memo)
    if old.shape == new.shape and new.requires_grad and not new._backward_hooks:
        for hook in (old._backward_hooks or {}).values():
            new.register_hook(_copied(hook, memo))


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A copy, or the thing itself where it cannot be copied."""
    with contextlib.suppress(Exception):  # whatever a lock, a stream or a handle raises
        return copy.deepcopy(value, memo)
    return value


def grown_biases(network: nn.Module, before: Mapping[str, nn.Module]) -> list[str]:
    """List the biases that had one axis and have more, dotted.

    Args:
        network: The network.
        before: The modules that a surgery replaced, by site.
    """
    grown = []
    for site, old in before.items():
        bias = getattr(network.get_submodule(site), "bias", None) if has(network, site) else None
        stock_bias = getattr(old, "bias", None)
        if (
            isinstance(bias, nn.Parameter)
            and isinstance(stock_bias, nn.Parameter)
            and stock_bias.dim() <= 1 < bias.dim()
        ):
            grown.append(f"{site}.bias")
    return grown
