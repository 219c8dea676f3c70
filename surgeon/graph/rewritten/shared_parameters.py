"""Parameters that more than one place of a network reads: several modules have them, or functions in its code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from surgeon.graph.places.read_weights import read_beside
from surgeon.graph.rewritten.network import Rewritten

Ties = tuple[tuple[str, ...], ...]


def shared_names(tree: nn.Module) -> Ties:
    """Find parameters that more than one module has; a module with several names counts once.

    Args:
        tree: The network.

    Returns:
        The names of each such parameter.
    """
    by_id: dict[int, list[str]] = {}
    for name, module in tree.named_modules():
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                by_id.setdefault(id(parameter), []).append(f"{name}.{leaf}" if name else leaf)
    return tuple(tuple(names) for names in by_id.values() if len(names) > 1)


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


def read_by_functions(network: nn.Module) -> dict[str, str]:
    """Find modules whose parameter the code around them reads too, in the graphs of a rewritten network.

    Args:
        network: The network.

    Returns:
        Why nothing may be folded into the parameter, or fitted, by the module's name.
    """
    return {
        f"{name}.{inner}" if name else inner: why
        for name, part in network.named_modules()
        if isinstance(part, Rewritten)
        for graph in part.graphs
        for inner, why in read_beside(graph).items()
    }


def _module(tree: nn.Module, name: str) -> nn.Module | None:
    """Return the module that has a parameter of a dotted name, or None."""
    try:
        return tree.get_submodule(name.rpartition(".")[0])
    except AttributeError:
        return None


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether tensors have equal shape, dtype and values."""
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
