"""Copies and pickles of a rewritten network.

A copy gets copies of the graphs, so that edits made to them by hand stay, and their code is made anew, since it must
run on the copy's own modules. A pickle has no graphs, since code cannot be pickled: it holds the tree and what the
surgery was, and the graphs are made anew from the stock class's code when it is read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from surgeon import tree
from surgeon.errors import SurgeryError, TraceError
from surgeon.graph.changes.anchors import walk
from surgeon.graph.changes.variants import same_argument
from surgeon.graph.rewritten.compiled import same_code
from surgeon.graph.tracing import checkpointing
from surgeon.graph.trees.apart import copies_its_own_way
from surgeon.graph.trees.own_attributes import GRAPH_STATE, OURS, OWN
from surgeon.graph.trees.slots import slots_of, slots_of_class
from surgeon.graph.trees.twin import children

if TYPE_CHECKING:
    from surgeon.graph.rewritten.network import Rewritten

_COPIED = ("_code", "_lineno_map", "_prologue_start", "_fused", "_aside")
_OF_ONE = tuple(name for name in OWN if name not in _COPIED)
"""What of a network is its own, and made anew for a copy of it."""


def fill(new: Rewritten, network: Rewritten, memo: dict[int, Any]) -> None:
    """Make an empty network a deep copy of another, and one of its class where both run the same code.

    Raises SurgeryError where a class in it copies in a way of its own that loses layers, or fails with them.
    """
    try:
        _fill(new, network, memo)
    except SurgeryError:
        raise
    except Exception as error:  # what the class's own way raises
        odd = next((m for _, m in tree.modules(network) if copies_its_own_way(_kind_of(m))), None)
        if odd is None:
            raise
        raise SurgeryError(
            f"{_kind_of(odd).__name__} copies itself in a way of its own, which fails with layers inside "
            f"({' '.join(str(error).split())[:200]}): {_ORDER}"
        ) from error


def _fill(new: Rewritten, network: Rewritten, memo: dict[int, Any]) -> None:
    programs = network._programs
    ours = network.__dict__
    if has_own_way(network._stock_class):
        view = copy.deepcopy(network.stock_view(), memo)
        _demand_layers(view, network, network._stock_class)
        _take_over(new, view)
        ours = {k: v for k, v in ours.items() if k in OURS}
    for key, value in ours.items():
        if key in _OF_ONE or key in network._rebound:
            continue
        if key == "_modules":  # blocks with slots keep them, which nn.Module leaves out of a copy
            new.__dict__[key] = children(value, memo)
            continue
        new.__dict__[key] = value if key == "_stock_class" else copy.deepcopy(value, memo)
    if ours is network.__dict__:
        _demand_layers(new, network)
    for key, value in slots_of(network) if ours is network.__dict__ else ():
        object.__setattr__(new, key, copy.deepcopy(value, memo))
    new.__dict__["_graph"] = network._graph
    new.__dict__["_programs"] = {k: copy.deepcopy(g) for k, g in programs.items()}
    new.__dict__["_code_of"] = {}
    new.__dict__["_variants"] = network._variants
    new.__dict__["_asked"] = network._asked
    new._regenerate()
    # After `_regenerate`, which takes graphs for unedited.
    new.__dict__["_by_hand"] = network._by_hand
    _join_class(new, network)


def replica(network: Rewritten) -> Rewritten:
    """A replica for torch's `DataParallel`, which fills it with copies of parameters, buffers and modules. It is
    shallow and has no parameters: the copies are not leaf tensors, and become plain attributes.

    It runs the network's code without asking what hangs where, since torch copies the layers too.
    """
    new: Rewritten = object.__new__(type(network))
    # Another object runs this class's code: a network whose code changes leaves the class instead of changing it.
    type(network)._shared = True
    kept = {k: v for k, v in network.__dict__.items() if k not in network._rebound}
    new.__dict__.update(kept, _parameters={}, _holders=None, _replica_of=network, _is_replica=True)
    for name in ("_buffers", "_modules", "_programs", "_code_of"):
        new.__dict__[name] = network.__dict__[name].copy()
    new.__dict__["_non_persistent_buffers_set"] = set(network._non_persistent_buffers_set)
    new.__dict__["_variants"] = network._variants.shared()
    for key, value in slots_of(network):
        object.__setattr__(new, key, value)
    return new


def take_graphs(new: Rewritten, network: Rewritten) -> None:
    """Give a replica the graphs that its network has by now, and the tensors that these hold as constants."""
    for name in ("_programs", "_code_of"):
        new.__dict__[name].update(network.__dict__[name])
    new._variants.kept.update(network._variants.kept)
    own = (t for _, m in tree.modules(new) for t in (*_sent(m), *m._buffers.values()) if t is not None)
    device = next((t.device for t in own), torch.device("cpu"))
    for name in network._constants:
        if name not in new._buffers and (held := network._buffers[name]) is not None:
            new._buffers[name] = held.to(device)


def _sent(module: nn.Module) -> Iterable[torch.Tensor]:
    """The copies of a module's parameters that `DataParallel` gave a replica of it."""
    return module.__dict__.get("_former_parameters", {}).values()


def _join_class(network: Rewritten, other: Rewritten) -> None:
    """Become an object of the class of `other`, of which this is a copy, where both run the same code.

    Code that computes with several networks at once asks for one class. A network whose code is
    made anew leaves it.
    """
    mine, theirs = network._code_of, other._code_of
    if checkpointing.wanted(network) or mine.keys() != theirs.keys():
        return
    held = all(same_argument(v, other._held.get(k)) for k, v in network._held.items())
    if held and all(same_code(mine[k], theirs[k]) for k in mine):
        type(other)._shared = True
        object.__setattr__(network, "__class__", type(other))
        network.__dict__["_code_of"] = dict(theirs)


def has_own_way(stock: type[nn.Module]) -> bool:
    """Whether a class says itself what a copy or a pickle of its objects holds, such as one that leaves out a lock."""
    known: tuple[type, ...] = (nn.Module, fx.GraphModule, object)
    return any(
        name in vars(c)
        for c in stock.__mro__
        if c not in known
        for name in ("__getstate__", "__setstate__", "__deepcopy__")
    )


def _take_over(network: Rewritten, view: nn.Module) -> None:
    """Give a network the attributes of an object of its stock class."""
    network.__dict__.update(view.__dict__)
    for key, value in slots_of(view):
        object.__setattr__(network, key, value)


_ORDER = "copy the network before surgeon.apply, or have its __deepcopy__ copy its modules"


def _demand_layers(view: nn.Module, network: Rewritten, kind: type | None = None) -> None:
    """Raise SurgeryError for a copy in which modules are missing, as a class makes one: `kind`, or that of a module on
    the way to the missing one."""
    have = {n for n, _ in tree.modules(view)}
    lost = next((n for n, _ in tree.modules(network) if n not in have), None)
    if lost is not None:
        kind = kind or _kind_on_the_way(network, lost)
        raise SurgeryError(
            f"{kind.__name__} copies itself in a way of its own, in which {lost} is lost: {_ORDER}"
        )


def _kind_on_the_way(network: Rewritten, name: str) -> type:
    """The first class on the way to a module that copies in a way of its own; the network's where no class does."""
    for depth in range(name.count(".") + 1):
        module = walk(network, ".".join(name.split(".")[: depth + 1]))
        if module is not None and copies_its_own_way(_kind_of(module)):
            return _kind_of(module)
    return network._stock_class


def _kind_of(module: nn.Module) -> type:
    """The class of a module; of a rewritten network the stock network's."""
    return module.__dict__.get("_stock_class") or type(module)


def state(network: Rewritten) -> tuple[Any, ...]:
    """What a pickle holds: the attributes without graphs and what was made of them, and the slots. Where the stock
    class defines what its pickle holds, that stands last, in place of its attributes and slots.

    Raises ModelError for a network with a part that is a function: no graphs could be made when it is read.
    """
    tree.demand_modules(network)
    left_out = {*OWN, *GRAPH_STATE, *network._rebound} - {*network.__dict__.get("_lent", ())}
    kept = {k: v for k, v in network.__dict__.items() if k not in left_out}
    if has_own_way(network._stock_class):
        own = network.stock_view().__getstate__()
        return {k: v for k, v in kept.items() if k in OURS}, {}, own
    return kept, dict(slots_of(network))


def fill_again(network: Rewritten, kept: tuple[Any, ...]) -> None:
    """Give an empty network what a pickle held, and make its graphs anew."""
    state, slots, *own = kept
    for held in own:
        view = object.__new__(network._stock_class)
        view.__setstate__(held)
        _take_over(network, view)
    network.__dict__.update(state)
    for layer in (p.layer for p in network._points if p.layer and walk(network, p.layer) is None):
        kind = _kind_on_the_way(network, layer)
        raise SurgeryError(
            f"the pickle is without {layer}: {kind.__name__} pickles itself in a way of its own, in which it is lost; "
            "save the network by surgeon.save, or have the class pickle its modules"
        )
    for key, value in slots.items():
        object.__setattr__(network, key, value)
    try:
        network.retrace()
    except TraceError as error:
        if absent := next(_without_slots(network), ""):
            raise SurgeryError(
                f"the pickle is without {absent}, a slot, which nn.Module leaves out of pickles: have the class pickle "
                f"it in a __getstate__ of its own, or save the network by surgeon.save ({error})"
            ) from error
        raise


def _without_slots(network: Rewritten) -> Iterator[str]:
    """The slots of a network's modules in which there is nothing, by their dotted names."""
    for path, module in tree.modules(network):
        kind = _kind_of(module)
        absent = (n for n in slots_of_class(kind) if not hasattr(module, n))
        yield from (f"{path}.{n}".lstrip(".") + f" of {kind.__name__}" for n in absent)
