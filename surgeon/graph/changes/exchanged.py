"""Which containers that the graphs go through are no longer what they were: exchanged, with other children,
or with other tensors.

The graphs call the modules in a container and not the container, so that what its code would make of other
children shows in graphs that are made anew alone. The same holds for parameters and buffers that the graphs
read themselves: the live ones, but as many as there were, and with what the code made of their shapes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from surgeon.graph.changes.anchors import child_of, inner_of, owned, walk
from surgeon.graph.places.cuts import Point
from surgeon.graph.trees.leaves import CONTAINERS
from surgeon.selection import is_call


@dataclass(frozen=True)
class Opened:
    """A container as it was: the module, and the names of its children in order, without what surgery hung there."""

    module: nn.Module
    names: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """One container that changed.

    binding: the graphs made before surely, or likely, compute another function: it is of another class, or runs
    other children. A module with a new child that its code may never call is not binding. never: why new graphs
    would not compute its function either; "" if they would. way: what works instead; "" for what works with
    exchanged modules.
    """

    path: str
    text: str
    binding: bool
    never: str = ""
    way: str = ""

    def __str__(self) -> str:
        return f"{self.path or 'the network'}: {self.text}"


def opened(network: nn.Module, graphs: Iterable[fx.Graph], points: Iterable[Point]) -> dict[str, Opened]:
    """The containers on the way to what the graphs call, by name, outer ones first. What stands at a site
    is called whole."""
    points = tuple(points)
    paths = {str(n.target): None for g in graphs for n in g.nodes if n.op == "call_module"}
    sites = {p.site for p in points if p.site} & {*paths}
    layers = {p.layer for p in points if p.layer}
    by_path: dict[str, Opened] = {}
    for path in paths:
        module, name = network, ""
        for part in path.split("."):
            if name in sites:
                break
            by_path.setdefault(name, Opened(inner_of(module), _names(inner_of(module), name, layers)))
            child = child_of(module, part)
            if child is None:
                break
            module, name = child, f"{name}.{part}" if name else part
    return dict(sorted(by_path.items(), key=lambda item: item[0].count(".") + bool(item[0])))


@dataclass(frozen=True)
class Read:
    """Tensors of one module that the graphs read: their names, the tensors and shapes that they were.

    kind: where the module has them, one of `_TENSORS`. complete: the code may go through all that the module has, as
        through a ParameterList's.
    """

    path: str
    module: nn.Module
    names: tuple[str, ...]
    tensors: tuple[torch.Tensor | None, ...]
    shapes: tuple[torch.Size | None, ...]
    complete: bool
    kind: str

    def stands(self) -> bool:
        """Whether the module has what it had, or tensors of the same shapes. It is asked at every call."""
        own = self.module.__dict__[self.kind] if self.kind else self.module.__dict__
        if self.complete and len(own) != len(self.names):
            return False
        # Identity first, which holds at nearly every call: for shapes a parametrization has to be computed.
        if all(map(operator.is_, map(own.get, self.names), self.tensors)):
            return True
        return tuple(_shape(self.module, n) for n in self.names) == self.shapes

    def change(self, network: nn.Module) -> Change | None:
        """How they changed in the module that stands there now."""
        module = walk(network, self.path) if self.path else network
        if module is None:
            return Change(self.path, "it is gone", True)
        names = tuple(module._parameters) if self.complete else self.names
        if len(names) != len(self.names):
            return Change(self.path, f"{len(names)} parameters in place of {len(self.names)}", True)
        for name, old in zip(self.names, self.shapes, strict=True):
            now = _shape(module, name)
            if now != old:
                path = f"{self.path}.{name}" if self.path else name
                return Change(path, f"{now and tuple(now)} in place of {old and tuple(old)}", True)
        return None


_TENSORS = ("_parameters", "_buffers", "")
"""Where a module has tensors: its parameters, its buffers, and its plain attributes."""


def read(network: nn.Module, graphs: Iterable[fx.Graph]) -> tuple[Read, ...]:
    """The tensors that the graphs read themselves, by the modules that have them; not those that the graphs hold."""
    reads: list[Read] = []
    held = set(network.__dict__.get("_constants", ()))
    for path, names in owned(graphs).items():
        module = walk(network, path) if path else network
        if module is None:
            continue
        complete = isinstance(module, (nn.ParameterList, nn.ParameterDict))
        for kind in _TENSORS:
            there = module.__dict__[kind] if kind else module.__dict__
            whole = complete and kind == "_parameters"
            own = tuple(n for n in (there if whole else names) if n in there and (path or n not in held))
            own = own if kind else tuple(n for n in own if isinstance(there[n], torch.Tensor))
            if own:
                tensors = tuple(there[n] for n in own)
                shapes = tuple(_shape(module, n) for n in own)
                reads.append(Read(path, module, own, tensors, shapes, whole, kind))
    return tuple(reads)


def stand(reads: Iterable[Read]) -> bool:
    """Whether all of them are what the graphs were made for."""
    return all(one.stands() for one in reads)


def _shape(module: nn.Module, name: str) -> torch.Size | None:
    """Of a parameter, or of what a parametrization made of it."""
    return getattr(getattr(module, name, None), "shape", None)


def changes(network: nn.Module, before: Mapping[str, Opened], points: Iterable[Point]) -> list[Change]:
    """How the containers changed: of nested ones the outermost alone."""
    layers = {p.layer for p in points if p.layer}
    result: list[Change] = []
    for path, old in before.items():
        if any(path.startswith(c.path + ".") for c in result if c.path):
            continue
        now = walk(network, path) if path else network
        if now is None:
            continue  # its own container says so
        now = inner_of(now)
        names = _names(now, path, layers)
        if now is old.module and names == old.names:
            continue
        text = children(now, old.names, names)
        exchanged = now is not old.module
        another = type(now) is not type(old.module)
        if exchanged:
            kind = type(now).__name__
            whose = f"{kind} in place of {type(old.module).__name__}" if another else f"another {kind}"
            text = f"{whose}, {text}" if text else whose
        # torch's containers run whatever hangs in them; other code may never call a new child.
        runs = exchanged or isinstance(now, CONTAINERS)
        result.append(Change(path, text, another or (runs and names != old.names)))
    return result


def children(module: nn.Module, before: tuple[str, ...], now: tuple[str, ...]) -> str:
    new = [f"{n} ({type(module._modules[n]).__name__})" for n in now if n not in before]
    gone = [n for n in before if n not in now]
    parts = [
        f"{', '.join(n[:4])}{' and more' if len(n) > 4 else ''} {'is' if len(n) == 1 else 'are'} {what}"
        for n, what in ((new, "new"), (gone, "gone"))
        if n
    ]
    if not parts and before != now:
        parts = ["the children stand in another order"]
    return ", ".join(parts)


def _names(module: nn.Module, path: str, layers: set[str]) -> tuple[str, ...]:
    prefix = f"{path}." if path else ""
    own = (n for n, c in module._modules.items() if c is not None and not is_call(n))
    return tuple(n for n in own if prefix + n not in layers)
