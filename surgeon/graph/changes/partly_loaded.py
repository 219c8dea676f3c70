"""State dicts of a network that was cut in fewer layers: some layers' tensors are there, and others' are missing.

A state dict without any is one of the uncut network, and each layer keeps what it has. With some, it comes from a cut
that passed over a site, as `kap` passes over depthwise convolutions of a trained network: what it is loaded into then
computes something else than what it came from.
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
    network: nn.Module,
    points: Iterable[Point],
    state: Mapping[str, Any],
    prefix: str,
    missing_keys: list[str],
) -> None:
    """Warn where a state dict has tensors of some inserted layers, and none of others of the same name.

    Those are put to the missing keys, so that strict loading fails with them.
    """
    kinds: dict[str, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}
    for point in points:
        if not point.layer or not point.site or not has(network, point.layer):
            continue
        keys = [f"{prefix}{point.layer}.{key}" for key in network.get_submodule(point.layer).state_dict()]
        if keys:
            there = any(key in state for key in keys)
            sites = kinds.setdefault(point.layer.rpartition(".")[2], ({}, {}))[there]
            sites[f"{prefix}{point.site}"] = [*sites.get(f"{prefix}{point.site}", ()), *keys]
    for kind, (missing, present) in kinds.items():
        if missing and present:
            missing_keys += [k for keys in missing.values() for k in keys if k not in missing_keys]
            warn(
                f"the state dict comes from a network that was cut in fewer layers: it has tensors of {kind} at "
                f"{', '.join(present)}, and none at {', '.join(missing)}, which are missing, and with strict=False "
                "stay as they are here, so that this network computes something else; cut the same sites, by select or "
                "depthwise in the recipe",
                SurgeryWarning,
            )
