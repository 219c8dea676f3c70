"""Inserted layers stay where their sites are, whatever other code puts there.

A layer is a child of the module that it follows, so code that exchanges or wraps that module takes the layer away. The
network remembers what hung where; when a module on the way to one of its calls is no longer the one that it was, the layer is
hung to the module that stands there now, under the same name.
"""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from surgeon.errors import SurgeryError
from surgeon.graph.cuts import Point
from surgeon.graph.fused import OPENED, TAIL

Holder = tuple[dict[str, Any], dict[str, Any]]
_CLOSED = {
    "BatchNorm2d": "BatchNormAct2d",
    "FrozenBatchNorm2d": "FrozenBatchNormAct2d",
    "SyncBatchNorm": "SyncBatchNormAct",
    "GroupNorm": "GroupNormAct",
    "LayerNorm": "LayerNormAct",
}
"""What an opened norm of this class becomes when it is closed again."""


@dataclass(frozen=True)
class Hung:
    """A child that belongs to the module at a site: the layer, or the drop and act of an opened norm."""

    site: str
    name: str
    child: nn.Module
    opened: type[nn.Module] | None = None


@dataclass(frozen=True)
class Lost:
    """A call of the graphs that finds nothing to call: the path, how far it leads, and what stands there."""

    path: str
    reached: str
    stands: str

    def __str__(self) -> str:
        where = f"at {self.reached} stands {self.stands}" if self.reached else f"the network is {self.stands}"
        return f"{self.path} is gone ({where})"


def hung(network: nn.Module, points: Iterable[Point]) -> tuple[Hung, ...]:
    """What hangs at the sites of `points` now."""
    found = []
    for point in points:
        module = _walk(network, point.site) if point.site else None
        if module is None:
            continue
        opened = module.__dict__.get(OPENED) if point.opened else None
        names = [point.layer.rpartition(".")[2]] if point.layer else []
        for name in [*names, *(TAIL if point.opened else ())]:
            child = module._modules.get(name)
            if child is not None:
                found.append(Hung(point.site, name, child, opened))
    return tuple(found)


def holders(network: nn.Module, graphs: Iterable[fx.Graph]) -> tuple[Holder, ...]:
    """The children of every module on the way from the network to what its graphs call, as they are kept and as they are now."""
    found: dict[int, Holder] = {}
    for path in _targets(graphs):
        module: nn.Module | None = network
        for name in path.split("."):
            if module is None:
                break
            found.setdefault(id(module._modules), (module._modules, dict(module._modules)))
            module = module._modules.get(name)
    return tuple(found.values())


def stand(found: Iterable[Holder]) -> bool:
    """Whether all of them still have the same children. It is asked at every call: modules are equal only to themselves."""
    return all(itertools.starmap(operator.eq, found))


def settle(network: nn.Module, children: Iterable[Hung]) -> None:
    """Hang every child whose site holds another module now to that module. A child that came along, or a copy, stays."""
    for one in children:
        module = _walk(network, one.site)
        if module is None:
            continue
        if one.opened is not None and OPENED not in module.__dict__:
            closed = getattr(
                sys.modules.get(one.opened.__module__), _CLOSED.get(type(module).__name__, ""), None
            )
            if closed is not None:
                module.__dict__[OPENED] = closed
        if module._modules.get(one.name) is not None or module is one.child:
            continue
        for inner in module.modules():  # a wrapper holds the module that the child hung to
            for key in [k for k, m in inner._modules.items() if m is one.child and k == one.name]:
                del inner._modules[key]
        if hasattr(module, one.name):
            raise SurgeryError(
                f"{one.site}: {type(module).__name__}, which replaced the module there, has an attribute {one.name} of "
                f"its own, so that {type(one.child).__name__} cannot follow; exchange modules before surgeon.apply, or "
                f"after surgeon.fold"
            )
        module._modules[one.name] = one.child


def lost(network: nn.Module, graphs: Iterable[fx.Graph]) -> list[Lost]:
    """The calls of the graphs whose module is no longer there."""
    found = []
    for path in _targets(graphs):
        module: nn.Module = network
        reached: list[str] = []
        for name in path.split("."):
            child = module._modules.get(name)
            if child is None:
                found.append(Lost(path, ".".join(reached), type(module).__name__))
                break
            module = child
            reached.append(name)
    return found


def refuse(found: list[Lost]) -> None:
    """Raises SurgeryError for calls that find nothing, with the order of steps that works."""
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise SurgeryError(
            f"modules were exchanged after the surgery: {found[0]}{more}; its graph still calls what stood there. Exchange, "
            f"fuse or reparameterise modules before surgeon.apply, or after surgeon.fold or surgeon.revert"
        )


def _targets(graphs: Iterable[fx.Graph]) -> dict[str, None]:
    return {str(n.target): None for g in graphs for n in g.nodes if n.op == "call_module"}


def _walk(network: nn.Module, path: str) -> nn.Module | None:
    module: nn.Module | None = network
    for name in path.split("."):
        module = None if module is None else module._modules.get(name)
    return module
