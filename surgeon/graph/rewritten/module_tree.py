"""The module tree of a network in its two states: stock with inserted layers, and rewritten with graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from surgeon.edits import Edit
from surgeon.errors import SurgeryError
from surgeon.graph.changes.partly_loaded import unwatch_loading, watch_loading
from surgeon.graph.places.cuts import Point
from surgeon.graph.places.lifting import unlift
from surgeon.graph.rewritten.displaced import Displaced
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.rewritten.region import Region, innermost_first
from surgeon.graph.trees.apart import demand_apart
from surgeon.graph.trees.bound_hooks import bound_in, rebind
from surgeon.graph.trees.caches import throw_away
from surgeon.graph.trees.fused import can_open, close_fused, is_fused, is_opened, open_fused
from surgeon.graph.trees.implants import alike
from surgeon.graph.trees.parameters import carry_over
from surgeon.graph.trees.paths import has
from surgeon.graph.trees.references import held_elsewhere, refer
from surgeon.graph.trees.twin import twin
from surgeon.selection import INPUT, is_call


def bare(model: nn.Module, *, share: bool = False) -> tuple[nn.Module, Displaced]:
    """Copy a network as a plain tree of stock classes, with inserted layers still in it.

    Activations that the network keeps from its last pass, as RAFT does, are copied without their autograd
    history, which could not be copied.

    Args:
        model: The network.
        share: Parameters and buffers are the network's own tensors; only the modules are new.

    Returns:
        The copy, and what earlier surgery took out of it.

    Raises:
        SurgeryError: The network cannot be copied, or its copy is not apart from it.
    """
    memo = {id(t): t for t in (*model.parameters(), *model.buffers())} if share else {}
    # Tensors with an autograd history cannot be deep-copied; the memo provides their copies.
    memo |= {id(t): t.detach().clone() for m in model.modules() for t in _kept(_own_values(m))}
    try:
        tree = twin(model, memo)
        demand_apart(tree, model, tensors=not share)
        if not share:
            out = model.__dict__.get("displaced") or Displaced()
            for known in (model, *out.modules.values()):
                carry_over(known.parameters(), memo)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise SurgeryError(
            f"{type(model).__name__} cannot be copied: {' '.join(str(error).split())[:200]}"
        ) from error
    displaced = tree.__dict__.get("displaced") or Displaced()
    for key in ("surgery", "displaced"):
        tree.__dict__.pop(key, None)
    unwatch_loading(tree)
    bound = bound_in(tree, displaced.modules.values())
    done: dict[int, nn.Module] = {}
    flat = _flatten(tree, done)
    inner = {key: stock for key, stock in done.items() if key != id(stock) and stock is not flat}
    if inner:
        refer(flat, inner)
    rebind(flat, bound, displaced.modules.values())
    throw_away(flat)
    return flat, displaced


def _own_values(module: nn.Module) -> list[Any]:
    """List what a module's own attributes hold, without parameters and children."""
    return [v for k, v in module.__dict__.items() if k not in _TORCH_KEEPS]


# Buffers are looked into, since a forward pass may leave an activation with its history in one.
_TORCH_KEEPS = {k for k in nn.Module().__dict__ if k != "_buffers"}


# The depth is limited, since objects and lists may hold each other.
def _kept(values: Iterable[Any], depth: int = 4) -> Iterator[Tensor]:
    """Yield tensors with an autograd history, in values and in the lists, dicts and objects they hold."""
    for value in values:
        if isinstance(value, Tensor):
            if value.grad_fn is not None:
                yield value
        elif depth and not isinstance(value, (nn.Module, type, str, int, float, bool, type(None))):
            inner = (
                value.values()
                if isinstance(value, dict)
                else value
                if isinstance(value, (list, tuple))
                else ()
            )
            own = getattr(value, "__dict__", {})
            yield from _kept([*inner, *(own.values() if isinstance(own, dict) else ())], depth - 1)


def _flatten(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    """Replace rewritten networks by their stock modules, each once, even if it has several names."""
    if id(module) in done:
        return done[id(module)]
    stock = module.to_stock() if isinstance(module, Rewritten) else module
    done[id(module)] = done[id(stock)] = stock
    for name, child in stock._modules.items():
        if child is not None:
            stock._modules[name] = _flatten(child, done)
    return stock


def shared_in(tree: nn.Module) -> set[int]:
    """Find modules that are in several places of a tree, or that attributes hold besides it.

    Args:
        tree: The network.

    Returns:
        Their ids, for `exchange`.
    """
    count = Counter(id(child) for holder in tree.modules() for child in holder._modules.values())
    return {i for i, places in count.items() if places > 1} | held_elsewhere(tree)


def exchange(tree: nn.Module, name: str, module: nn.Module, shared: set[int] | None = None) -> None:
    """Replace a module, under every name that the old one has in the tree, and in what holds it besides.

    Args:
        tree: The network, changed in place.
        name: Dotted name.
        module: The new module.
        shared: What `shared_in` found; it is kept up to date. Without it the whole tree is searched for other
            names.
    """
    owner, _, leaf = name.rpartition(".")
    parent = tree.get_submodule(owner)
    old = parent._modules.get(leaf)
    # Most modules stand in one place: a search of the whole tree at each exchange would make a cut quadratic.
    if old is not None and (shared is None or id(old) in shared):
        for holder in tree.modules():
            for key, child in holder._modules.items():
                if child is old:
                    holder._modules[key] = module
        refer(tree, {id(old): module})
        if shared is not None:
            # The new module stands now wherever the old one did.
            shared.add(id(module))
    parent._modules[leaf] = module


def put(tree: nn.Module, name: str, module: nn.Module, shared: set[int] | None = None) -> None:
    """Replace a module, keeping the old one's children and training mode.

    Args:
        tree: The network, changed in place.
        name: Dotted name.
        module: The new module.
        shared: As for `exchange`.
    """
    old = tree.get_submodule(name) if has(tree, name) else None
    if old is not None:
        module.training = old.training
        for child_name, child in old._modules.items():
            # A child that the new module has itself wins: it belongs to how that one works.
            module._modules.setdefault(child_name, child)
    exchange(tree, name, module, shared)


def hang(tree: nn.Module, name: str, layer: nn.Module) -> None:
    """Insert a layer, on the device and in the precision of its surroundings.

    Args:
        tree: The network, changed in place.
        name: Dotted name of the layer.
        layer: The layer.
    """
    owner_name, _, leaf = name.rpartition(".")
    owner = tree.get_submodule(owner_name)
    match(tree, owner, layer)
    layer.train(tree.training)
    owner._modules[leaf] = layer


def match(tree: nn.Module, beside: nn.Module, made: nn.Module) -> None:
    """Put a new module on the device and in the precision of another, or, if that has no tensors, of the network.

    Args:
        tree: The network.
        beside: The other module.
        made: The new module, changed in place.
    """
    like = next((t for t in beside.parameters() if t.is_floating_point()), None)
    if like is None:
        like = next((t for t in tree.parameters() if t.is_floating_point()), None)
    if like is not None:
        made.to(device=like.device)
        for p in made.parameters():
            p.data = p.data.to(like.dtype)


def take(tree: nn.Module, name: str) -> nn.Module:
    """Remove an inserted layer.

    Args:
        tree: The network, changed in place.
        name: Dotted name.

    Returns:
        The layer.
    """
    owner, _, leaf = name.rpartition(".")
    return tree.get_submodule(owner)._modules.pop(leaf)  # type: ignore[return-value]  # a layer was hung there


def free_name(tree: nn.Module, name: str, taken: Iterable[str]) -> str:
    """Return a name, with a number if it is in use.

    Args:
        tree: The network.
        name: The wanted dotted name.
        taken: Names that are reserved.

    Returns:
        `name`, or `name_2`, `name_3`, ...
    """
    used, number, free = set(taken), 2, name
    # An attribute counts as taken too: it would hide a child of its name.
    while free in used or has(tree, free) or _is_attribute(tree, free):
        free, number = f"{name}_{number}", number + 1
    return free


def _is_attribute(tree: nn.Module, name: str) -> bool:
    """Say whether a dotted name is an attribute of any kind."""
    owner, _, leaf = name.rpartition(".")
    return has(tree, owner) and hasattr(tree.get_submodule(owner), leaf)


def open_site(tree: nn.Module, name: str, shared: set[int] | None = None) -> None:
    """Open a fused norm and activation, so that a layer can be inserted between the two.

    Args:
        tree: The network, changed in place.
        name: Dotted name of the module; nothing is done unless it is a fused one.
        shared: As for `exchange`.

    Raises:
        SurgeryError: The module cannot be opened.
    """
    module = tree.get_submodule(name)
    if is_fused(module):
        if not can_open(module):
            raise SurgeryError(
                f"{name}: {type(module).__name__} cannot be opened between norm and activation"
            )
        exchange(tree, name, open_fused(module), shared)


def close_all(tree: nn.Module) -> None:
    """Close every opened norm again, and take off modules that stand for functions.

    Args:
        tree: The network, changed in place.
    """
    opened = [(name, module) for name, module in tree.named_modules() if is_opened(module)]
    shared = shared_in(tree) if opened else None
    for name, module in opened:
        exchange(tree, name, close_fused(module), shared)
    unlift(tree)


def carve(
    tree: nn.Module, regions: Iterable[Region], edits: Iterable[Edit], displaced: Displaced
) -> nn.Module:
    """Give a tree its graphs: each region with an edit inside becomes a rewritten network.

    Args:
        tree: The network as a plain tree, changed in place.
        regions: The traceable regions.
        edits: The edits.
        displaced: What the surgery took out; hooks in it that are bound to the network are bound to the new
            one.

    Returns:
        The root: a rewritten network, or the plain module if it cannot be traced as a whole.

    Raises:
        SurgeryError: An edit is in no region.
    """
    regions = innermost_first(regions)
    edits = tuple(edits)
    _lead(tree, [e.layer for e in edits if e.site == INPUT and e.layer])
    _lead(tree, [n for n in tree._modules if is_call(n)])
    names = [r.name for r in regions]
    owner_of = {e.site: _owner(e.site, names) for e in edits}
    # Asked before anything is exchanged: by name these are still the old modules.
    bound = bound_in(tree, displaced.modules.values())
    root = tree
    for region in regions:
        inside = any(_within(owner, region.name) for owner in owner_of.values())
        if not inside and region.name:
            continue
        points = [
            _point(tree, e, region.name, displaced)
            for e in edits
            if owner_of[e.site] == region.name and (e.layer or is_call(e.site) or _opened(tree, e.site))
        ]
        rewritten = region.graphs_on(tree.get_submodule(region.name), points)
        if region.name:
            exchange(tree, region.name, rewritten)
        else:
            root = rewritten
    rebind(root, bound, displaced.modules.values())
    if root is tree:
        watch_loading(root)
    return root


def _lead(tree: nn.Module, layers: Iterable[str]) -> None:
    """Make layers at the input, and modules that stand for functions, the first children, in this order.

    Code that asks for the last child (the classifier) must still find the network's own.
    """
    for name, child in [(n, tree._modules.pop(n)) for n in [*layers, *tree._modules] if n in tree._modules]:
        tree._modules[name] = child


def _owner(site: str, regions: list[str]) -> str:
    """Return the innermost region that contains a site."""
    if site == INPUT:
        return ""
    fitting = [r for r in regions if not r or site.startswith(r + ".")]
    if not fitting:
        raise SurgeryError(f"{site} lies in no part of the network that torch.fx can follow")
    return max(fitting, key=len)


def _within(owner: str, region: str) -> bool:
    """Say whether a region is, or is inside, another."""
    return not region or owner == region or owner.startswith(region + ".")


def _opened(tree: nn.Module, site: str) -> bool:
    """Say whether the module at a site is an opened norm."""
    return site != INPUT and is_opened(tree.get_submodule(site))


def _point(tree: nn.Module, edit: Edit, region: str, displaced: Displaced) -> Point:
    """Return where a region's graph is cut for an edit, by names inside the region."""
    old = displaced.modules.get(edit.site) if edit.replaces else None
    restated = old is not None and not alike(old, tree.get_submodule(edit.site))

    def inner(name: str) -> str:
        return name[len(region) + 1 :] if region else name

    site = "" if edit.site == INPUT else inner(edit.site)
    return Point(
        site,
        inner(edit.layer) if edit.layer else None,
        opened=_opened(tree, edit.site),
        before=edit.before,
        call=edit.call,
        instead_of=type(old).__name__ if restated else "",
    )
