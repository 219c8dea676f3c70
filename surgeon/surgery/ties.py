"""Parameters that several modules have in common, where modules are made anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

Ties = tuple[tuple[str, ...], ...]


def ties(tree: nn.Module) -> Ties:
    """The names of each parameter that more than one module has; a module with several names counts once."""
    found: dict[int, list[str]] = {}
    for name, module in tree.named_modules():
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), []).append(f"{name}.{leaf}" if name else leaf)
    return tuple(tuple(names) for names in found.values() if len(names) > 1)


def tie(tree: nn.Module, before: Ties) -> Sequence[str]:
    """Tie what was tied `before` and still is of the same values; returns the first name of each tie that is no more."""
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
    try:
        return tree.get_submodule(name.rpartition(".")[0])
    except AttributeError:
        return None


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
