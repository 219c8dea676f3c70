"""The way back: folding a rewritten network into stock modules, and reverting it to what it was."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping

from torch import nn

from surgeon.edits import Edit, Plan
from surgeon.errors import FoldError, SurgeonError, either
from surgeon.graph.bound_hooks import bound_in, rebind
from surgeon.graph.made_weights import settled
from surgeon.graph.survey import find_regions, survey
from surgeon.host import in_own_state
from surgeon.methods.base import FoldContext, Operation
from surgeon.methods.registry import parse
from surgeon.selection import INPUT
from surgeon.surgery.door import record_of
from surgeon.surgery.restating import restate
from surgeon.surgery.standing import Finding, demand, findings, standing
from surgeon.surgery.statistics import demand_room, give_back
from surgeon.surgery.ties import tie, ties
from surgeon.surgery.tree import bare, carve, close_all, exchange, has, put, take


@in_own_state()
def fold(model: nn.Module, *, partial: bool = False) -> nn.Module:
    """The rewritten network as one of its stock class, with stock names and shapes, equal in evaluation mode.

    Mean-KAP goes into the convolutions before it, noise layers go away. `model` is untouched.
    partial: fold what folds and keep the rest; the result then still is a rewritten network.

    A parameter that several modules have in common stays one where all fold to the same; a warning tells where they do not.

    Raises FoldError, edit by edit, where something has no stock equivalent, and SurgeryError for a
    network without surgery.
    """
    record = record_of(model, "fold")
    tree, displaced = bare(model)
    was, tied = bound_in(tree), ties(tree)
    operations = {k: parse(o) for k, o in record.operations.items()}
    links = functools.cache(lambda: {s.name: s.next_norm for s in survey(tree).sites})

    def norm_after(site: str) -> nn.Module | None:
        norm = links().get(site)
        return tree.get_submodule(norm) if norm else None

    odd = {f.site: f for f in findings(model)}
    stuck: list[tuple[Edit, str]] = []
    for edit in reversed(record.edits):
        module = None if edit.site == INPUT else tree.get_submodule(edit.site)
        layer = tree.get_submodule(edit.layer) if edit.layer else None
        behind = [e for e, _ in stuck if e.site == edit.site]
        try:
            if behind and edit.replaces:
                raise FoldError(f"{behind[0].operation} behind it does not fold")
            folded = _folded(
                operations[edit.operation], edit, module, layer, functools.partial(norm_after, edit.site), odd
            )
            if folded is not None and layer is not None and module is not None and module._forward_hooks:
                raise FoldError(
                    "a forward hook of yours stands between the module and the layer; take it off, fold, and put it back"
                )
        except FoldError as error:
            stuck.append((edit, str(error)))
            continue
        if folded is not None and module is not None:
            put(tree, edit.site, folded)
        if edit.layer:
            take(tree, edit.layer)
    if stuck and not partial:
        raise FoldError(_list(record, stuck))
    if broken := tie(tree, tied):
        warnings.warn(
            f"{broken[0]}{f' (and {len(broken) - 1} more)' if len(broken) > 1 else ''} was one parameter of several modules, which fold to "
            "different ones: they are parameters of their own now",
            stacklevel=4,
        )
    remaining = [e for e in record.edits if any(e is kept for kept, _ in stuck)]
    if not remaining:
        close_all(tree)
        rebind(tree, was)
        tree.__dict__["folded_from"] = record
        return tree
    _close_unused(tree, remaining)
    rebind(tree, was)
    rewritten = carve(tree, find_regions(tree, record.input_size), remaining, displaced)
    keys = {e.operation for e in remaining}
    rewritten.__dict__["surgery"] = record.model_copy(
        update=dict(
            edits=tuple(remaining), operations={k: v for k, v in record.operations.items() if k in keys}
        )
    )
    sites = {e.site for e in remaining}
    displaced.modules = {k: v for k, v in displaced.modules.items() if k in sites}
    displaced.standing = standing(rewritten, remaining)
    rewritten.__dict__["displaced"] = displaced
    return rewritten


def _folded(
    operation: Operation,
    edit: Edit,
    module: nn.Module | None,
    layer: nn.Module | None,
    norm_after: Callable[[], nn.Module | None],
    odd: Mapping[str, Finding],
) -> nn.Module | None:
    """What the operation makes of the site; weights that hooks or parametrizations make are those that they make now."""
    found = odd.get(edit.site)
    plain = None if module is None else settled(module)
    try:
        folded = operation.fold(edit, FoldContext(plain, layer, norm_after))
    except SurgeonError:
        raise
    except Exception as error:
        if found is None:
            raise
        raise FoldError(str(found)) from error
    if folded is not None and found is not None and not found.same:
        raise FoldError(str(found))
    return folded


@in_own_state()
def revert(model: nn.Module) -> nn.Module:
    """The network as it was before the surgery: stock class, inserted layers gone. `model` is untouched.

    Modules that the surgery replaced or re-fitted, and batch-norm statistics that it took again, come back
    as they were at the cut, bit for bit, in the precision and on the device that the network has now, and
    frozen where it is; everything else keeps its present values, so that a network that was trained after
    the cut keeps that training where it had nothing to do with the cut.

    Raises SurgeryError for a network without surgery, and where a norm has no running statistics any more that could come back.
    """
    record = record_of(model, "revert")
    tree, displaced = bare(model)
    demand_room(tree, displaced.statistics)
    demand([f for f in findings(model) if f.site in displaced.modules and not f.same], "reverted")
    for edit in reversed(record.edits):
        if edit.layer and has(tree, edit.layer):
            take(tree, edit.layer)
    was = bound_in(tree, displaced.modules.values())
    for name, module in displaced.modules.items():
        old = tree.get_submodule(name)
        exchange(tree, name, restate(module, old, tree.parameters()))
    close_all(tree)
    rebind(tree, was)
    give_back(tree, displaced.statistics)
    return tree


def _list(record: Plan, stuck: list[tuple[Edit, str]]) -> str:
    shown = "; ".join(f"{e.operation} at {e.site}: {why}" for e, why in stuck[:12])
    more = f"; and {len(stuck) - 12} more" if len(stuck) > 12 else ""
    return f"{len(stuck)} of {len(record.edits)} edits do not fold: {shown}{more} ({either('partial=True', '--partial')} folds the others)"


def _close_unused(tree: nn.Module, remaining: list[Edit]) -> None:
    from surgeon.graph.fused import close_fused, is_opened

    used = {e.site for e in remaining if e.layer}
    for name, module in list(tree.named_modules()):
        if is_opened(module) and name not in used:
            exchange(tree, name, close_fused(module))
