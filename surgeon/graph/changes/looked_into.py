"""Containers whose children the code may have gone through without calling any: an empty ModuleDict of adapters, a
ModuleList for further heads.

The graphs have no trace of them, since they call nothing there. What comes into them is seen here, and the graphs are
made anew; containers of which something is called are seen by `exchanged.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from surgeon import tree
from surgeon.graph.changes.anchors import inner_of, walk
from surgeon.graph.changes.exchanged import Change, children
from surgeon.graph.measuring.traced import Asked
from surgeon.graph.trees.leaves import CONTAINERS


@dataclass(frozen=True)
class LookedInto:
    """Containers by path, their dicts of children, and what was in these."""

    paths: tuple[str, ...]
    children: tuple[dict[str, Any], ...]
    before: tuple[dict[str, Any], ...]

    def stands(self) -> bool:
        """Whether they have the children that they had. It is asked at every call."""
        return all(map(operator.eq, self.children, self.before))

    def change(self, network: nn.Module) -> Change | None:
        """The first that has children of other names. Nobody calls them, so that others of the same names make no
        difference."""
        for path, before in zip(self.paths, self.before, strict=True):
            module = walk(network, path) if path else network
            if module is None:
                return Change(path, "it is gone", True)
            now, old = (tuple(n for n, c in d.items() if c is not None) for d in (module._modules, before))
            if now != old:
                return Change(path, children(module, old, now), True)
        return None


def watched(
    network: nn.Module, asked: Asked, opened: Collection[str], graphs: Iterable[fx.Graph]
) -> Iterator[LookedInto]:
    """What is now in the containers that code looked into, and in those inside of them; without `opened` ones, of which
    the graphs call something, and those that are called whole. And what is in all modules that a walk went through."""
    called = {str(n.target) for g in graphs for n in g.nodes if n.op == "call_module"}
    by_path: dict[str, dict[str, Any]] = {}
    for name in asked.looked_into:
        parts = name.split(".") if name else []
        above = [".".join(parts[: i + 1]) for i in range(len(parts))]
        module = walk(network, name) if name else None
        if module is None or not called.isdisjoint(above):
            continue
        inside = [f"{name}.{p}" for p, m in tree.modules(module) if p and isinstance(m, CONTAINERS)]
        for path in (*above, *inside):
            inner = walk(network, path)
            if inner is not None and path not in opened and path not in called:
                by_path[path] = inner_of(inner)._modules
    for path in asked.walked:
        module = walk(network, path) if path else network
        if module is not None:
            by_path[path] = inner_of(module)._modules
    if by_path:
        held = tuple(by_path.values())
        yield LookedInto(tuple(by_path), held, tuple(map(dict, held)))
