"""State dicts of a network that was cut in fewer layers: some layers' tensors are there, and others' are missing.

A state dict without any is one of the uncut network, and each layer keeps what it has. With some, it comes from a cut
that passed over a site, as `kap` passes over depthwise convolutions of a trained network: what it is loaded into then
computes something else than what it came from. It is the whole network that is asked, since a part sees its own tensors
alone: a rewritten one when it is loaded, and one of its stock class, with rewritten parts, by a hook.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from surgeon import tree
from surgeon.errors import SurgeryWarning
from surgeon.graph.trees.paths import has
from surgeon.warned import warn


@dataclass(frozen=True)
class Layers:
    """The inserted layers of a network that have tensors: layer → its site, and the names of these.

    As a hook before loading, it knows no module: copies of a network share it."""

    layers: Mapping[str, tuple[str, tuple[str, ...]]]
    of_surgeon: ClassVar[bool] = True

    def __call__(
        self, state: Mapping[str, Any], prefix: str, _metadata: Any, _strict: bool, *lists: Any
    ) -> None:
        """Warn where a state dict has tensors of some of them, and none of others of the same name.

        Those are put to the missing keys, which come first in `lists`, so that strict loading fails with them.
        """
        missing_keys: list[str] = lists[0]
        kinds: dict[str, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}
        for layer, (site, names) in self.layers.items():
            keys = [f"{prefix}{layer}.{name}" for name in names]
            there = any(key in state for key in keys)
            sites = kinds.setdefault(layer.rpartition(".")[2], ({}, {}))[there]
            sites[f"{prefix}{site}"] = [*sites.get(f"{prefix}{site}", ()), *keys]
        for kind, (missing, present) in kinds.items():
            new = [k for keys in missing.values() for k in keys if k not in missing_keys]
            if new and present:  # else told already, of the whole that this is a part of
                missing_keys += new
                warn(
                    f"the state dict comes from a network that was cut in fewer layers: it has tensors of {kind} at "
                    f"{', '.join(present)}, and none at {', '.join(missing)}, which are missing, and with strict=False "
                    "stay as they are here, so that this network computes something else; cut the same sites, by "
                    "select or depthwise in the recipe",
                    SurgeryWarning,
                )


def layers_of(network: nn.Module) -> Layers:
    """The inserted layers of a network, those of rewritten parts included."""
    return Layers({layer: held for path, part in _parts(network) for layer, held in _of_part(path, part)})


def watch_loading(root: nn.Module) -> None:
    """Have a network of its stock class, with rewritten parts, ask for all of them when it is loaded."""
    if sum(any(_of_part(path, part)) for path, part in _parts(root)) > 1:
        root._register_load_state_dict_pre_hook(layers_of(root))


def unwatch_loading(root: nn.Module) -> None:
    """Take that hook off, where there is one."""
    hooks = root._load_state_dict_pre_hooks
    for key in [k for k, hook in hooks.items() if isinstance(getattr(hook, "hook", None), Layers)]:
        del hooks[key]


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((f"{path}." if path else "", m) for path, m in tree.modules(network) if "_points" in m.__dict__)


def _of_part(path: str, part: nn.Module) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    for point in part.__dict__["_points"]:
        if point.layer and point.site and has(part, point.layer):
            names = tuple(part.get_submodule(point.layer).state_dict())
            if names:
                yield path + point.layer, (path + point.site, names)
