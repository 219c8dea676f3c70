"""Hooks that other code puts on containers after the cut: no graph calls these modules, so nothing calls the hooks.

Hooks that are there at the cut are called: a module that has some is called whole (`tracer.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from surgeon.errors import SurgeryWarning
from surgeon.graph.exchanged import Change, Opened
from surgeon.graph.hooks_of_others import CALLS, of_others
from surgeon.warned import warn

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
        """True: graphs need not be made anew. Hooks that came since are told once by a warning. It is asked at
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
        where = ", ".join(new[:_SHOWN]) + (f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else "")
        warn(
            f"hooks that were put on {where} after the surgery are not called: a rewritten network calls the layers "
            "inside. Put them on before the surgery, or on layers, or take features by a feature extractor "
            "(docs/interop.md)",
            SurgeryWarning,
        )


def watched(opened: Mapping[str, Opened]) -> Unheard:
    """The containers that the graphs go through, without the network itself, whose hooks are called."""
    below = {path: one.module for path, one in opened.items() if path}
    hooks = tuple(module.__dict__[kind] for module in below.values() for kind in CALLS)
    return Unheard(tuple(below), tuple(below.values()), hooks)
