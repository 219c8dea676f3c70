"""Inserted layers stay where their sites are, whatever other code puts there.

A layer is a child of the module that it follows, so code that exchanges or wraps that module takes the layer away. The
network remembers what hung where; when a module on the way to one of its calls is no longer the one that it
was, the layer is hung to the module that stands there now, under the same name.
"""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from surgeon import tree
from surgeon.errors import SurgeryError
from surgeon.graph.places.cuts import Point
from surgeon.graph.trees.fused import OPENED, TAIL, is_fused
from surgeon.graph.trees.implants import alike, settings_of
from surgeon.graph.trees.leaves import is_norm, runs_children
from surgeon.selection import is_call
from surgeon.warned import warn

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
    """A child that belongs to a module: the layer at a site, the drop and act of an opened norm, or what stands for a
    function that the module's code calls.

    opened: the class that a norm had before it was opened. instead_of: as of `Point`."""

    site: str
    name: str
    child: nn.Module
    at: nn.Module
    opened: type[nn.Module] | None = None
    instead_of: str = ""


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
    result = []
    for point in sorted(
        points, key=lambda p: not is_call(p.site)
    ):  # a layer may hang at a module that was itself inserted
        owner, _, leaf = point.site.rpartition(".")
        holder = walk(network, owner) if owner and is_call(leaf) else None
        function = child_of(holder, leaf) if holder is not None else None
        if holder is not None and function is not None:
            result.append(Hung(owner, leaf, function, holder))
        module = walk(network, point.site) if point.site else None
        if module is None:
            continue
        opened = module.__dict__.get(OPENED) if point.opened else None
        names = [point.layer.rpartition(".")[2]] if point.layer else []
        for name in [*names, *(TAIL if point.opened else ())]:
            child = child_of(module, name)
            if child is not None:
                result.append(Hung(point.site, name, child, module, opened, point.instead_of))
    return tuple(result)


def holders(network: nn.Module, graphs: Iterable[fx.Graph]) -> tuple[Holder, ...]:
    """The children of every module on the way from the network to what its graphs call or read, as they
    are kept and as they are now."""
    by_id: dict[int, Holder] = {}
    graphs = tuple(graphs)
    for path in (*_targets(graphs), *filter(None, owned(graphs))):
        module: nn.Module | None = network
        for name in path.split("."):
            if module is None:
                break
            for one in (module, inner_of(module)):
                by_id.setdefault(id(one._modules), (one._modules, dict(one._modules)))
            module = child_of(module, name)
    return tuple(by_id.values())


def stand(holders: Iterable[Holder]) -> bool:
    """Whether all of them still have the same children. It is asked at every call: modules are equal only
    to themselves."""
    return all(itertools.starmap(operator.eq, holders))


def settle(network: nn.Module, children: Iterable[Hung], *, demand: bool = True) -> bool:
    """Move every child to the module that stands at its site now. A child that came along, or a copy, stays.

    Returns whether every child hangs. demand: raise SurgeryError for one that cannot, instead of leaving
    it where it is.
    """
    settled = True
    for one in children:
        module = walk(network, one.site)
        if module is None:
            continue
        if one.opened is not None and OPENED not in module.__dict__:
            if is_fused(module) and not type(module).__module__.startswith("torch."):  # those run no child
                if demand:
                    raise SurgeryError(_activates_twice(module, one))
                settled = False
                continue
            _tell_activation(module, one)
            closed = getattr(
                sys.modules.get(one.opened.__module__), _CLOSED.get(type(module).__name__, ""), None
            )
            if closed is not None:
                module.__dict__[OPENED] = closed
        if child_of(module, one.name) is not None or module is one.child:
            continue
        obstacle = _obstacle(network, module, one)
        if obstacle and demand:
            raise SurgeryError(obstacle)
        if obstacle:
            settled = False
            continue
        inner = inner_of(module)
        for wrapped in module.modules():  # a wrapper holds the module that the child hung to
            for key in [k for k, m in wrapped._modules.items() if m is one.child and k == one.name]:
                del wrapped._modules[key]
        if hasattr(module, one.name):
            raise SurgeryError(
                f"{one.site}: {type(module).__name__}, which replaced the module there, has an attribute {one.name} of "
                f"its own, so that {type(one.child).__name__} cannot follow; exchange modules before surgeon.apply, or "
                f"after surgeon.fold"
            )
        inner._modules[one.name] = one.child
    return settled


def _obstacle(network: nn.Module, module: nn.Module, one: Hung) -> str:
    """Why a child cannot hang to the module that stands at its site now; "" where it can."""
    layer = type(one.child).__name__
    if runs_children(module):
        way = (
            "put a module around it whose forward calls what it holds by name"
            if type(module) is nn.Sequential
            else ""
        )
        return (
            f"{one.site}: {type(module).__name__}, which replaced the module there, calls "
            f"whatever hangs in it, so that {layer} "
            f"would run twice: {way + ', or ' if way else ''}{_ORDER}"
        )
    around = any(m is one.at for m in module.modules())
    if one.instead_of and not around and not (any(settings_of(module)) and alike(module, one.at)):
        return (
            f"{one.site}: {type(module).__name__} stands where the surgery put {type(one.at).__name__} and {layer} in "
            f"place of {one.instead_of}, and {layer}, which would stay, is no part of it: {_ORDER}"
        )
    # Moved, and not wrapped: nothing says to which of the two places the layer belongs.
    if not around:
        place = next((n for n, m in tree.modules(network) if m is one.at), None)
        if place is not None:
            return (
                f"{one.site}, with {layer} behind it, stands at {place} now, and another "
                f"{type(module).__name__} in its "
                f"place: {_ORDER}"
            )
    return ""


def _activates_twice(module: nn.Module, one: Hung) -> str:
    """The message about a norm with its own activation in place of one that the surgery took apart."""
    return (
        f"{one.site}: {type(module).__name__}, with an activation of its own, stands where the surgery opened a "
        f"{one.opened.__name__ if one.opened else 'norm'} and calls the activation behind its layer, so that it would "
        f"act twice: {_ORDER}"
    )


def _tell_activation(module: nn.Module, one: Hung) -> None:
    """Warn of a plain norm with other values in place of one that the surgery took apart, whose activation stays; code
    that freezes, thaws or synchronises norms keeps the values."""
    act = one.at._modules.get("act")
    if (
        act is None
        or not is_norm(module)
        or any(m is one.at for m in module.modules())
        or _of_same_values(module, one.at)
    ):
        return
    warn(
        f"{one.site}: {type(module).__name__} stands where the surgery opened a "
        f"{one.opened.__name__ if one.opened else 'norm'}; the activation of that one, {type(act).__name__}, stays "
        f"behind it, and fold and revert join the two again. For a norm without it, {_ORDER}"
    )


def _of_same_values(module: nn.Module, other: nn.Module) -> bool:
    """Whether the tensors that both have, but for counters, are equal."""
    mine, theirs = ({**m._parameters, **m._buffers} for m in (module, other))
    for name, tensor in mine.items():
        old = theirs.get(name)
        if tensor is None or old is None or tensor is old or not tensor.dim() or tensor.is_meta:
            continue
        if tensor.shape != old.shape or not bool((tensor == old.to(tensor)).all()):
            return False
    return True


_ORDER = "exchange, wrap, fuse or move modules before surgeon.apply, or after surgeon.fold or surgeon.revert"


def reaches(network: nn.Module, points: Iterable[Point]) -> bool:
    """Whether every site, and every layer, still is where the points say."""
    return all(walk(network, path) is not None for p in points for path in (p.site, p.layer) if path)


def lost(network: nn.Module, graphs: Iterable[fx.Graph]) -> list[Lost]:
    """The calls of the graphs whose module is no longer there."""
    missing = []
    for path in _targets(graphs):
        module: nn.Module = network
        reached: list[str] = []
        for name in path.split("."):
            child = child_of(module, name)
            if child is None:
                missing.append(Lost(path, ".".join(reached), type(module).__name__))
                break
            module = child
            reached.append(name)
    return missing


def fused(
    network: nn.Module, graphs: Iterable[fx.Graph], points: Iterable[Point], holders: Iterable[Holder]
) -> str:
    """The name of a norm behind an inserted layer that was replaced by an Identity; "" if there is no such norm."""
    layers = {p.layer for p in points if p.layer and p.site}
    were = {id(now): before for now, before in holders}
    for node in (n for g in graphs for n in g.nodes if n.op == "call_module" and n.args):
        before = node.args[0]
        if not (isinstance(before, fx.Node) and before.op == "call_module" and before.target in layers):
            continue
        path, _, name = str(node.target).rpartition(".")
        owner = walk(network, path) if path else network
        if owner is None:
            continue
        old = were.get(id(owner._modules), {}).get(name)
        if old is not None and is_norm(old) and isinstance(child_of(owner, name), nn.Identity):
            return str(node.target)
    return ""


def norms_behind(
    network: nn.Module, graphs: Iterable[fx.Graph], points: Iterable[Point], children: Iterable[Hung]
) -> list[str]:
    """Norms right behind an inserted layer that are gone, or whose layer's site holds another module. Code that
    fuses a norm into the convolution before it leaves a network so."""
    moved = {one.site for one in children if walk(network, one.site) is not one.at}
    sites = {p.layer: p.site for p in points if p.layer and p.site}
    norms = []
    for node in (n for g in graphs for n in g.nodes if n.op == "call_module" and n.args):
        before = node.args[0]
        if not (isinstance(before, fx.Node) and before.op == "call_module" and before.target in sites):
            continue
        module = walk(network, str(node.target))
        if module is None or (is_norm(module) and sites[str(before.target)] in moved):
            norms.append(str(node.target))
    return list(dict.fromkeys(norms))


def uncalled(names: Iterable[str], graphs: Iterable[fx.Graph]) -> str:
    """The first of some norms behind inserted layers that graphs made anew no longer call, in words; else ""."""
    called = _targets(graphs)
    name = next((n for n in names if n not in called), None)
    if name is None:
        return ""
    return (
        f"{name}, which came behind an inserted layer, is no longer called: fused into the convolution before the "
        "layer, it would act before it"
    )


def refuse_fused(norm: str) -> None:
    """Raises SurgeryError for a norm that is gone from behind a layer."""
    raise SurgeryError(
        f"{norm}: an Identity stands in place of the norm behind an inserted layer; where the norm was fused into the "
        f"convolution before the layer, it would come before the layer and not after it: {_ORDER}"
    )


def refuse(missing: list[Lost], changes: Iterable[object] = ()) -> None:
    """Raises SurgeryError for calls that find nothing, with what became of their containers and the order
    of steps that works."""
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        because = "".join(f"; {c}" for c in list(changes)[:1])
        raise SurgeryError(
            f"modules were exchanged after the surgery: {missing[0]}{more}{because}; its graph "
            "still calls what stood there. Exchange, "
            f"fuse or reparameterise modules before surgeon.apply, or after surgeon.fold or surgeon.revert"
        )


def _targets(graphs: Iterable[fx.Graph]) -> dict[str, None]:
    return {str(n.target): None for g in graphs for n in g.nodes if n.op == "call_module"}


def owned(graphs: Iterable[fx.Graph]) -> dict[str, dict[str, None]]:
    """The names of what the graphs read themselves, by the path of the module that has it."""
    by_owner: dict[str, dict[str, None]] = {}
    for path in (str(n.target) for g in graphs for n in g.nodes if n.op == "get_attr"):
        owner, _, name = path.rpartition(".")
        by_owner.setdefault(owner, {})[name] = None
    return by_owner


def walk(network: nn.Module, path: str) -> nn.Module | None:
    module: nn.Module | None = network
    for name in path.split("."):
        module = None if module is None else child_of(module, name)
    return module if isinstance(module, nn.Module) else None


def inner_of(module: nn.Module) -> nn.Module:
    """The module itself, or what torch.compile put its own around: that one shows the attributes of what
    it holds as its own."""
    # By the class's name: importing it would load all of torch.compile.
    held = module._modules.get("_orig_mod") if type(module).__name__ == "OptimizedModule" else None
    return module if held is None else held


def child_of(module: nn.Module, name: str) -> nn.Module | None:
    if not isinstance(module, nn.Module):  # a function that other code put there
        return None
    child = module._modules.get(name)
    return inner_of(module)._modules.get(name) if child is None else child
