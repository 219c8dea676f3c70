"""Undo a surgery: fold a rewritten network into stock modules, or revert it to what it was."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from surgeon.edits import Edit, Note, Plan
from surgeon.errors import FoldError, SurgeonError, SurgeryWarning, either
from surgeon.graph.bound_hooks import bound_in, rebind
from surgeon.graph.late_code import called_whole
from surgeon.graph.lifting import unlift
from surgeon.graph.made_weights import settled
from surgeon.graph.module_tree import bare, carve, close_all, exchange, put, shared_in, take
from surgeon.graph.one_at_a_time import one_at_a_time
from surgeon.graph.paths import has
from surgeon.graph.shared_parameters import read_by_functions, tie, ties
from surgeon.graph.standing import remember_rest
from surgeon.graph.survey import find_regions, survey
from surgeon.host import in_own_state
from surgeon.methods.base import FoldContext, Operation
from surgeon.methods.registry import parse
from surgeon.models.norm_statistics import demand_room, give_back
from surgeon.selection import INPUT, is_call
from surgeon.surgery.door import record_of
from surgeon.surgery.restating import restate
from surgeon.surgery.standing import Finding, demand, findings
from surgeon.tensors.instead import NotHere
from surgeon.warned import warn

FOLDED = "folded"
"""The code of the note on a network that was folded in part."""


@one_at_a_time
@in_own_state()
def fold(model: nn.Module, *, partial: bool = False) -> nn.Module:
    """Return a network of the stock class and of plain layers that equals the rewritten one in evaluation mode.

    Mean-KAP is merged into the convolutions before it; noise layers are removed. Names and shapes are the stock
    network's, but for edits that exchange layers of the architecture (`Edit.exchanges`): a smooth activation stays one,
    as torch's own, and only surgeon makes such a network again. `model` is left untouched. A
    parameter that several modules share stays shared if all of them fold to the same values; otherwise a
    warning names it and each module gets its own.

    Args:
        model: A rewritten network.
        partial: Fold the edits that fold and keep the others, with those that would exchange layers; the result is
            then still a rewritten network.

    Returns:
        The folded network; its attribute `folded_from` is the record of the surgery.

    Raises:
        FoldError: Some edits have no stock equivalent, listed one by one, and `partial` is False.
        SurgeryError: The network has had no surgery.

    Examples:
        >>> import surgeon
        >>> rewritten = surgeon.apply(surgeon.create_model("zoo/shallow2"), "kap")
        >>> folded = surgeon.fold(rewritten)
        >>> type(folded).__name__, surgeon.surgery_of(folded), folded.folded_from.recipe
        ('Shallow', None, 'kap')
    """
    record = record_of(model, "fold")
    changed = {f.site: f for f in findings(model)}
    demand([f for f in changed.values() if f.site and not has(model, f.site)], "folded")
    tree, displaced = bare(model)
    refused = record.refused | called_whole(model)
    # Replacing modules would lose hooks that are bound to the network, and the sharing of parameters.
    bound, tied = bound_in(tree), ties(tree)
    operations = {k: parse(o) for k, o in record.operations.items()}
    links = functools.cache(lambda: {s.name: s.next_norm for s in survey(tree, refused=refused).sites})

    def norm_after(site: str) -> nn.Module | None:
        norm = links().get(site)
        return tree.get_submodule(norm) if norm else None

    beside, shared = read_by_functions(model), shared_in(tree)
    stood = {e.site: tree.get_submodule(e.site) for e in record.edits if e.site != INPUT}
    stuck: list[tuple[Edit, str]] = []
    merged: list[Edit] = []
    for edit in _outwards(record.edits):
        module = None if edit.site == INPUT else tree.get_submodule(edit.site)
        layer = tree.get_submodule(edit.layer) if edit.layer else None
        if partial and edit.exchanges and not record.folds:
            stuck.append((edit, "what is left of the surgery could not be made again on the changed layers"))
            continue
        nearer = [e for e, _ in stuck if e.site == edit.site]
        try:
            folded = _folded(
                operations[edit.operation],
                edit,
                module,
                layer,
                functools.partial(norm_after, edit.site),
                changed,
                next((e.operation for e in nearer if e.replaces), ""),
            )
            if folded is not None and layer is not None:
                _demand_next_to_it(edit, nearer)
            if folded is not None and edit.site in beside:
                raise FoldError(beside[edit.site])
            if folded is not None and is_call(edit.site):
                raise FoldError(
                    f"the network's code calls {edit.site} as a function: no module can take its place"
                )
            if folded is not None and layer is not None and module is not None and module._forward_hooks:
                raise FoldError(
                    "a forward hook of yours stands between the module and the layer; take "
                    "it off, fold, and put it back"
                )
            if layer is not None and (layer._forward_hooks or layer._forward_pre_hooks):
                raise FoldError(
                    "a forward hook of yours is on the layer, which folding takes away; take it off first"
                )
        except FoldError as error:
            stuck.append((edit, str(error)))
            continue
        if folded is not None and module is not None:
            put(tree, edit.site, folded, shared)
            merged.append(edit)
        if edit.layer:
            take(tree, edit.layer)
    if stuck and not partial:
        raise FoldError(_list(record, stuck))
    if broken := tie(tree, tied):
        warn(
            f"{broken[0]}{f' (and {len(broken) - 1} more)' if len(broken) > 1 else ''} was "
            "one parameter of several modules, which fold to "
            "different ones: they are parameters of their own now",
        )
    remaining = [e for e in record.edits if any(e is kept for kept, _ in stuck)]
    if not remaining:
        close_all(tree)
        rebind(tree, bound)
        tree.__dict__["folded_from"] = record
        return tree
    _close_unused(tree, remaining)
    rebind(tree, bound)
    folded_at = {e.site for e in record.edits if e not in remaining}
    untouched = {s for s, m in stood.items() if has(tree, s) and tree.get_submodule(s) is m} - folded_at
    rewritten = carve(tree, find_regions(tree, record.input_size, refused), remaining, displaced)
    keys = {e.operation for e in remaining}
    rewritten.__dict__["surgery"] = record.model_copy(
        update=dict(
            edits=tuple(remaining),
            operations={k: v for k, v in record.operations.items() if k in keys},
            notes=(*record.notes, *_folded_in(merged)),
        )
    )
    sites = {e.site for e in remaining}
    displaced.modules = {k: v for k, v in displaced.modules.items() if k in sites}
    remember_rest(displaced, rewritten, remaining, untouched)
    rewritten.__dict__["displaced"] = displaced
    return rewritten


def _folded_in(merged: Sequence[Edit]) -> list[Note]:
    """Make the note on what a partial fold has merged into the network: nothing takes that out again."""
    what = ", ".join(f"{n} × {name}" for name, n in Counter(e.operation for e in merged).items())
    text = (
        f"folded in, and part of the network now: {what}; what revert gives, which an evaluation takes for the "
        "uncut network, has it too: for the network from before, revert the one that was not folded"
    )
    return [Note(code=FOLDED, severity="warning", text=text)] if merged else []


def _outwards(edits: Sequence[Edit]) -> list[Edit]:
    """Sort edits so that each layer is merged into a module to which it stands next.

    What took a module's place comes first, the last one first; then the layers, as they are called.
    """
    return [e for e in reversed(edits) if not e.layer] + [e for e in edits if e.layer]


def _demand_next_to_it(edit: Edit, kept: Sequence[Edit]) -> None:
    """Raise FoldError where a layer that remains stands between a layer and the module that it is merged into."""
    between = next((e for e in kept if e.layer and e.before == edit.before), None)
    if between is not None:
        raise FoldError(f"{between.operation} stands between it and its module, and does not fold")


def _folded(
    operation: Operation,
    edit: Edit,
    module: nn.Module | None,
    layer: nn.Module | None,
    norm_after: Callable[[], nn.Module | None],
    odd: Mapping[str, Finding],
    in_place: str,
) -> nn.Module | None:
    """Fold one site, with the weights that hooks or parametrizations make at present.

    in_place: the operation whose module, which does not fold, has the place of the site's own; '' for none.
    """
    changed_site = odd.get(edit.site)
    plain = None if module is None else settled(module)
    try:
        folded = operation.fold(edit, FoldContext(plain, layer, norm_after))
    except Exception as error:  # an operation at a site that is no longer what it was
        if isinstance(error, SurgeonError) and not isinstance(error, NotHere):
            raise
        if in_place:
            raise FoldError(f"{in_place} has the place of its module, and does not fold") from error
        if changed_site is None:
            raise
        raise FoldError(str(changed_site)) from error
    if folded is not None and in_place:
        raise FoldError(f"{in_place} has the place of its module, and does not fold")
    if folded is not None and changed_site is not None and not changed_site.same:
        raise FoldError(str(changed_site))
    return folded


@one_at_a_time
@in_own_state()
def revert(model: nn.Module) -> nn.Module:
    """Return the network as it was before the surgery, of its stock class. `model` is left untouched.

    Inserted layers are removed. Modules that the surgery replaced or re-fitted, and batch-norm statistics
    that it re-estimated, come back bit for bit as they were at the cut, in the present precision, on the
    present device, and frozen if they are frozen now. Everything else keeps its present values, so training
    after the cut is kept where the cut did not touch the network.

    Args:
        model: A rewritten network.

    Returns:
        The stock network.

    Warns:
        SurgeryWarning: The network was folded in part: what was folded stays in it.

    Raises:
        SurgeryError: The network has had no surgery; a site is no longer what the surgery left there; or a
            norm no longer has running statistics to restore.

    Examples:
        >>> import surgeon, torch
        >>> model = surgeon.create_model("zoo/shallow2")
        >>> back = surgeon.revert(surgeon.apply(model, "kap"))
        >>> torch.equal(back.features.conv1.weight, model.features.conv1.weight)
        True
    """
    record = record_of(model, "revert")
    for note in record.notes:
        if note.code == FOLDED:
            warn(note.text, SurgeryWarning)
    tree, displaced = bare(model)
    # Check first: from here on the copy is neither the rewritten network nor the stock one.
    demand_room(tree, displaced.statistics)
    demand([f for f in findings(model) if f.site in displaced.modules and not f.same], "reverted")
    for edit in reversed(record.edits):
        if edit.layer and has(tree, edit.layer):
            take(tree, edit.layer)
    bound, shared = bound_in(tree, displaced.modules.values()), shared_in(tree)
    for name, module in displaced.modules.items():
        old = tree.get_submodule(name)
        exchange(tree, name, restate(module, old, tree.parameters()), shared)
    close_all(tree)
    rebind(tree, bound)
    give_back(tree, displaced.statistics)
    return tree


def _list(record: Plan, stuck: list[tuple[Edit, str]]) -> str:
    """Describe the edits that do not fold, in one line: each reason once, with the first sites."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for edit, why in sorted(stuck, key=lambda pair: record.edits.index(pair[0])):
        reasons.setdefault((edit.operation, why), []).append(edit.site)
    lines = [
        f"{operation} at {', '.join(sites[:3])}{f' and {len(sites) - 3} more' if len(sites) > 3 else ''}: {why}"
        for (operation, why), sites in list(reasons.items())[:12]
    ]
    more = f"; and {len(reasons) - 12} more reasons" if len(reasons) > 12 else ""
    return (
        f"{len(stuck)} of {len(record.edits)} edits do not fold: {'; '.join(lines)}{more} "
        f"({either('partial=True', '--partial')} folds the others)"
    )


def _close_unused(tree: nn.Module, remaining: list[Edit]) -> None:
    """Close the opened norms behind which no inserted layer remains, and take off what stands for functions without
    edits."""
    from surgeon.graph.fused import close_fused, is_opened

    used = {e.site for e in remaining if e.layer}
    for name, module in list(tree.named_modules()):
        if is_opened(module) and name not in used:
            exchange(tree, name, close_fused(module))
    unlift(tree, {e.site for e in remaining})
