"""Hooks that other code puts on containers after the cut, or on all modules: no graph calls these modules, so nothing
calls the hooks.

Hooks that are on a module at the cut are called: one that has some is called whole (`tracer.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from surgeon.errors import SurgeryWarning
from surgeon.graph.changes.exchanged import Change, Opened
from surgeon.graph.trees.hooks_of_others import CALLS, is_of_others, of_others
from surgeon.torch_private import HOOKS_ON_ALL
from surgeon.warned import warn

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten

_SHOWN = 3


@dataclass(frozen=True)
class Unheard:
    """Containers that the graphs go through, by path, and their dicts of hooks on calls and gradients."""

    paths: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    hooks: tuple[Mapping[int, Any], ...]
    _seen: list[int] = field(default_factory=list, compare=False)
    _told: set[str] = field(default_factory=set, compare=False)

    def stands(self) -> bool:
        """True: graphs need not be made anew. Hooks that came since are reported once, by a warning. It is asked at
        every call."""
        counts = [*map(len, self.hooks)]
        if counts != self._seen:
            self._seen[:] = counts
            self._tell()
        return True

    def change(self, network: nn.Module) -> Change | None:
        """None: the graphs are what they were."""
        return None

    def _tell(self) -> None:
        new = [
            path
            for path, module in zip(self.paths, self.modules, strict=True)
            if path not in self._told and of_others(module)
        ]
        if not new:
            return
        self._told.update(new)
        warn(
            f"hooks that were put on {_first(new)} after the surgery are not called: a rewritten network calls the "
            "layers inside. Put them on before the surgery, or on layers, or take features by a feature extractor "
            "(docs/interop.md)",
            SurgeryWarning,
        )


def watched(opened: Mapping[str, Opened]) -> Unheard:
    """The containers that the graphs go through, without the network itself, whose hooks are called."""
    below = {path: one.module for path, one in opened.items() if path}
    hooks = tuple(module.__dict__[kind] for module in below.values() for kind in CALLS)
    return Unheard(tuple(below), tuple(below.values()), hooks)


def tell_of_all(network: Rewritten) -> None:
    """Tell once a network, when it is called, that hooks on all modules of the process do not reach its containers.

    Not of torch's own, which count operations and note names: what they count of the whole is right.
    """
    state = (network._replica_of or network).__dict__
    if state.get("_told_of_all") or not any(
        is_of_others(h) for hooks in HOOKS_ON_ALL for h in hooks.values()
    ):
        return
    state["_told_of_all"] = True
    without = nn.Module.forward  # of a ModuleList, which nothing calls
    paths = [p for p, o in network._opened.items() if p and type(o.module).forward is not without]
    if paths:
        warn(
            f"hooks on all modules (register_module_forward_hook and its kin) do not reach {_first(paths)} of this "
            f"{network._stock_class.__name__}: a rewritten network calls the layers inside, which they reach. One that "
            "acts on layers alone loses nothing; else put hooks on these modules before the surgery, or take features "
            "by a feature extractor (docs/interop.md)",
            SurgeryWarning,
        )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
