"""Keep parameters shared that several modules have in common, when modules are made anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

Ties = tuple[tuple[str, ...], ...]


def ties(tree: nn.Module) -> Ties:
    """Find parameters that more than one module has; a module with several names counts once.

    Args:
        tree: The network.

    Returns:
        The names of each such parameter.
    """
    found: dict[int, list[str]] = {}
    for name, module in tree.named_modules():
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), []).append(f"{name}.{leaf}" if name else leaf)
    return tuple(tuple(names) for names in found.values() if len(names) > 1)


def tie(tree: nn.Module, before: Ties) -> Sequence[str]:
    """Share parameters again whose values are still equal.

    Args:
        tree: The network, changed in place.
        before: The names, as from `ties`.

    Returns:
        The first name of each parameter that is no longer shared.
    """
    broken = []
    for names in before:
        holders = [(_module(tree, name), name.rpartition(".")[2]) for name in names]
        values = [None if m is None else m._parameters.get(leaf) for m, leaf in holders]
        first = values[0]
        if first is None or any(v is None or not (v is first or _equal(v, first)) for v in values):
            broken.append(names[0])
            continue
        for module, leaf in holders:
            if module is not None:
                module._parameters[leaf] = first
    return broken


def _module(tree: nn.Module, name: str) -> nn.Module | None:
    """Return the module that has a parameter of a dotted name, or None."""
    try:
        return tree.get_submodule(name.rpartition(".")[0])
    except AttributeError:
        return None


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether tensors have equal shape, dtype and values."""
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
