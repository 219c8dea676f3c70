"""Convolutions whose stride, padding or dilation other code changes after the cut, where layers are for one size.

Segmentation makes a backbone dilated by a loop over its `nn.Conv2d`. Where weight maps stand for some of them, the loop
passes these over: the maps of the others no longer fit together, or a part of the network is left as it was.
"""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from surgeon import tree
from surgeon.errors import SurgeryWarning
from surgeon.graph.changes.exchanged import Change
from surgeon.graph.measuring.measure import measure
from surgeon.graph.trees.hooks_of_others import without_hooks_of_others
from surgeon.graph.trees.leaves import is_convolution
from surgeon.warned import warn

SETTINGS = ("stride", "padding", "dilation")
_WAY = (
    f"change {', '.join(SETTINGS[:-1])} and {SETTINGS[-1]} of convolutions before surgeon.apply, or fold or revert, "
    "change, and apply again"
)


@dataclass(frozen=True)
class Geometry:
    """What strides, paddings and dilations are in a network that has layers of one size.

    paths: modules that have them. bound: layers of one size, by name and class. replaced: those of `bound` that stand
    in place of a convolution.
    """

    paths: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    values: tuple[tuple[Any, ...], ...]
    bound: tuple[str, ...]
    replaced: tuple[str, ...]
    _tried: dict[Any, str] = field(default_factory=dict, compare=False)

    def stands(self) -> bool:
        """Whether they are what they were. It is asked at every call."""
        return all(map(operator.eq, map(_settings, self.modules), self.values))

    def change(self, network: nn.Module) -> Change | None:
        """The first that changed, if the network no longer runs. If it runs, warn of what a loop over convolutions
        has passed over."""
        now = tuple(map(_settings, self.modules))
        first = next((i for i, old in enumerate(self.values) if now[i] != old), None)
        if first is None:
            return None
        path, old = self.paths[first], self.values[first]
        place = next(i for i in range(len(SETTINGS)) if now[first][i] != old[i])
        text = f"{SETTINGS[place]} {now[first][place]} in place of {old[place]}"
        if now not in self._tried:
            self._tried[now] = self._fault(network)
        fault = self._tried[now]
        if fault:
            return Change(path, text, True, f"{_listed(self.bound)} for one size: {fault}", _WAY)
        if self.replaced:
            warn(
                f"{path}: {text}, after the surgery. {_listed(self.replaced)} no convolution: a loop over convolutions "
                f"leaves such layers as they are. Where they should change too, {_WAY}",
                SurgeryWarning,
            )
        return None

    def _fault(self, network: nn.Module) -> str:
        """Why the network does not run now on images of a size on which it ran before; "" where it does, and where
        that is not known."""
        size = getattr(network.__dict__.get("surgery"), "input_size", None)
        if size is None:
            return ""
        try:
            twin = _twin(network)
        except Exception:  # something hangs on it that cannot be copied
            return ""
        fault = measure(twin, size).error
        if fault:
            for path, values in zip(self.paths, self.values, strict=True):
                nn.Module.get_submodule(twin, path).__dict__.update(zip(SETTINGS, values, strict=True))
        return "" if fault and measure(twin, size).error else fault


def watched(network: nn.Module) -> tuple[Geometry, ...]:
    """Strides, paddings and dilations as they are now; empty where no layer is of one size."""
    named = list(tree.modules(network))
    bound: dict[str, nn.Module] = {}
    for name, module in named:
        if getattr(module, "of_one_size", False) and not any(name.startswith(f"{n}.") for n in bound):
            bound[name] = module
    if not bound:
        return ()
    modules = {n: m for n, m in named if all(s in m.__dict__ for s in SETTINGS)}
    modules = {n: m for n, m in modules.items() if is_convolution(m) or getattr(m, "of_one_size", False)}
    return (
        Geometry(
            tuple(modules),
            tuple(modules.values()),
            tuple(map(_settings, modules.values())),
            tuple(f"{n} ({type(m).__name__})" for n, m in bound.items()),
            tuple(f"{n} ({type(m).__name__})" for n, m in bound.items() if any(m.__dict__.get("_was", ()))),
        ),
    )


def _settings(module: nn.Module) -> tuple[Any, ...]:
    own = module.__dict__
    return own.get("stride"), own.get("padding"), own.get("dilation")


def _twin(network: nn.Module) -> nn.Module:
    """A copy on the same tensors that looks at nothing and calls no hook of the caller's."""
    own = network.__dict__
    looked, own["_holders"] = own.get("_holders"), None
    try:
        memo: dict[int, Any] = {
            id(t): t for t in (*nn.Module.parameters(network), *nn.Module.buffers(network))
        }
        twin = copy.deepcopy(network, memo)
    finally:
        own["_holders"] = looked
    without_hooks_of_others(twin)
    twin.__dict__["_holders"] = None
    return twin


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    return f"{names[0]}{more}"
