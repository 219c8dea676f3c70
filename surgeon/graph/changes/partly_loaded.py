"""State dicts of a network that was cut in fewer layers: some layers' tensors are there, and others' are missing.

A state dict without any is one of the uncut network, and each layer keeps what it has. With some, it comes from a cut
that passed over a site, as `kap` passes over depthwise convolutions of a trained network: what it is loaded into then
computes something else than what it came from, and strict loading alone would not say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from surgeon.errors import SurgeryWarning
from surgeon.graph.places.cuts import Point
from surgeon.graph.trees.paths import has
from surgeon.warned import warn


def tell_of_missing(
    network: nn.Module, points: Iterable[Point], state: Mapping[str, Any], prefix: str
) -> None:
    """Warn where a state dict has tensors of some inserted layers, and none of others of the same name."""
    kinds: dict[str, tuple[list[str], list[str]]] = {}
    for layer in dict.fromkeys(p.layer for p in points if p.layer and p.site):
        if not has(network, layer):
            continue
        own = [f"{prefix}{layer}.{key}" for key in network.get_submodule(layer).state_dict()]
        if own:
            there = any(key in state for key in own)
            kinds.setdefault(layer.rpartition(".")[2], ([], []))[there].append(layer)
    for missing, present in kinds.values():
        if missing and present:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            warn(
                f"the state dict has tensors of {present[0]} and none of {missing[0]}{more}: it comes from a network "
                "that was cut in fewer layers, and those stay as they are here, so that this network computes "
                "something else; cut the same sites, by select or depthwise in the recipe",
                SurgeryWarning,
            )
