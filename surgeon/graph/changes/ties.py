"""Modules that stand in several places of a network: whether they are still one module in all of them.

A graph calls a shared module by its first name, wherever the code reaches it. Where one of the places gets
another module, graphs that are made anew alone show which call is whose.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx, nn

from surgeon import tree
from surgeon.graph.changes.anchors import Holder, inner_of, owned
from surgeon.graph.changes.exchanged import Change


@dataclass(frozen=True)
class SharedPlace:
    """One place of a module: its path, and the children among which it stands under a name."""

    path: str
    children: dict[str, nn.Module | None]
    name: str

    def module(self) -> nn.Module | None:
        """What stands there now."""
        child = self.children.get(self.name)
        return None if child is None else inner_of(child)


Tie = tuple[SharedPlace, ...]
"""All places of one module."""


def ties(network: nn.Module, graphs: Iterable[fx.Graph]) -> tuple[Tie, ...]:
    """The modules on the way to what the graphs call or read that stand in several places, each with its places."""
    places: dict[int, list[SharedPlace]] = {}
    several = False
    for path, module in tree.modules(network):
        prefix = f"{path}." if path else ""
        for name, child in tree.children(module):
            places_of_child = places.setdefault(id(child), [])
            places_of_child.append(SharedPlace(prefix + name, module._modules, name))
            several = several or len(places_of_child) > 1
    if not several:
        return ()
    passed = _passed(network, graphs)
    return tuple(
        tuple(places_of_child)
        for key, places_of_child in places.items()
        if len(places_of_child) > 1 and key in passed
    )


def held(shared: Iterable[Tie]) -> tuple[Holder, ...]:
    """The children of every module that holds a shared one, as they are kept and as they are now."""
    kept = {id(place.children): place.children for tie in shared for place in tie}
    return tuple((children, dict(children)) for children in kept.values())


def parted(shared: Iterable[Tie]) -> list[Change]:
    """Shared modules that became different ones: a place of theirs has another module than the first."""
    made: list[Change] = []
    for first, *others in shared:
        now = first.module()
        for place in others:
            module = place.module()
            if module is not now:
                text = (
                    f"{type(module).__name__}, and {first.path} is {type(now).__name__}; both were one module"
                )
                made.append(Change(place.path, text, True))
                break
    return made


def _passed(network: nn.Module, graphs: Iterable[fx.Graph]) -> set[int]:
    """The modules that the graphs call or read from, and those that they stand in."""
    graphs = tuple(graphs)
    targets = {str(n.target): None for g in graphs for n in g.nodes if n.op == "call_module"}
    passed: set[int] = set()
    for path in (*targets, *filter(None, owned(graphs))):
        module: nn.Module | None = network
        for name in path.split("."):
            if module is None:
                break
            child = module._modules.get(name)
            module = inner_of(module)._modules.get(name) if child is None else child
            passed.add(id(module))
    return passed
