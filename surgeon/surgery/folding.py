"""Undo a surgery: fold a rewritten network into stock modules, or revert it to what it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import nn

from surgeon.edits import Edit, Note, Plan
from surgeon.errors import FoldError, SurgeryWarning, either
from surgeon.graph.changes.late_code import called_as_written
from surgeon.graph.comparing.beyond import leaves_alone
from surgeon.graph.places.lifting import unlift
from surgeon.graph.rewritten.module_tree import bare, carve, close_all, exchange, shared_in, take
from surgeon.graph.rewritten.shared_parameters import shared_names, tie
from surgeon.graph.sites.standing import remember_rest
from surgeon.graph.sites.survey import find_regions, norm_finder
from surgeon.graph.trees.bound_hooks import bound_in, rebind
from surgeon.graph.trees.lost_hooks import hooks_in, move_hooks, tell_lost
from surgeon.graph.trees.one_at_a_time import one_at_a_time
from surgeon.graph.trees.paths import has
from surgeon.host import in_own_state
from surgeon.methods.annealed import FOLDED_IN_PART, in_part, unfinished
from surgeon.models.norm_statistics import give_back
from surgeon.selection import INPUT
from surgeon.surgery.door import Subject, to_undo
from surgeon.surgery.merging import Merging
from surgeon.surgery.restating import restate
from surgeon.warned import warn

FOLDED = "folded"
"""The code of the note on a network that was folded in part."""


@one_at_a_time
@in_own_state()
@leaves_alone
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
        FoldError: Some edits have no stock equivalent, or hooks of yours are in the way, listed one by one, and
            `partial` is False.
        SurgeryError: The network has had no surgery.

    Warns:
        SurgeryWarning: Hooks of yours on what the surgery had put in are gone with it; or annealed layers have a part
            of their effect, which alone is folded in.

    Examples:
        >>> import surgeon
        >>> rewritten = surgeon.apply(surgeon.create_model("zoo/shallow2"), "kap")
        >>> folded = surgeon.fold(rewritten)
        >>> type(folded).__name__, surgeon.surgery_of(folded), folded.folded_from.recipe
        ('Shallow', None, 'kap')
    """
    network = folded_network(model, partial=partial)
    if said := unfinished(model):
        warn(said, SurgeryWarning)
    return network


@one_at_a_time
@in_own_state()
@leaves_alone
def folded_network(model: nn.Module, *, partial: bool = False) -> nn.Module:
    """Return what `fold` gives, without a word on annealed layers: for a look at the network as it stands.

    Args:
        model: A rewritten network.
        partial: As for `fold`.

    Returns:
        The folded network.

    Raises:
        FoldError: As for `fold`.
        SurgeryError: The network has had no surgery.
    """
    network = folded(to_undo(model, "fold"), partial=partial)[0]
    tell_lost(hooks_in(model, settled=True), network)
    return network


@one_at_a_time
@in_own_state()
def folded(subject: Subject, *, partial: bool) -> tuple[nn.Module, Plan | None]:
    """Fold a network that was admitted.

    Args:
        subject: The network.
        partial: As for `fold`.

    Returns:
        The folded network, and the record of what is left of the surgery; None if nothing is.

    Raises:
        FoldError: As for `fold`.
        SurgeryError: The network cannot be copied.
    """
    record = subject.record
    assert record is not None  # the door lets no other in
    tree, displaced = bare(subject.model)
    refused = record.refused | called_as_written(subject.model)
    # Replacing modules would lose hooks that are bound to the network, and the sharing of parameters.
    bound, tied = bound_in(tree), shared_names(tree)
    stood = {e.site: tree.get_submodule(e.site) for e in record.edits if e.site != INPUT}
    merging = Merging(subject, record, tree, norm_finder(tree, refused), partial=partial)
    merging.all()
    if merging.stuck and not partial:
        raise FoldError(_list(record, merging.stuck))
    if broken := tie(tree, tied):
        warn(
            f"{broken[0]}{f' (and {len(broken) - 1} more)' if len(broken) > 1 else ''} was "
            "one parameter of several modules, which fold to "
            "different ones: they are parameters of their own now",
        )
    remaining = [e for e in record.edits if any(e is kept for kept, _ in merging.stuck)]
    if not remaining:
        close_all(tree)
        rebind(tree, bound)
        tree.__dict__["folded_from"] = _with_what_was_missing(record, in_part(subject.model))
        return tree, None
    _close_unused(tree, remaining)
    rebind(tree, bound)
    folded_at = {e.site for e in record.edits if e not in remaining}
    untouched = {s for s, m in stood.items() if has(tree, s) and tree.get_submodule(s) is m} - folded_at
    # Its graphs are those of the network that folding has made: the ones from before show other modules.
    rewritten = carve(tree, find_regions(tree, record.input_size, refused, remaining), remaining, displaced)
    gone = [e for e in record.edits if e not in remaining]
    left = _with_what_was_missing(_left_of(record, remaining, merging.merged), in_part(subject.model, gone))
    rewritten.__dict__["surgery"] = left
    replaced = {e.site for e in remaining if e.replaces}
    displaced.modules = {k: v for k, v in displaced.modules.items() if k in replaced}
    if _staying(
        merging.merged, remaining
    ):  # the network has been fitted to them: its statistics stay with them
        displaced.statistics = {}
    remember_rest(displaced, rewritten, remaining, untouched)
    rewritten.__dict__["displaced"] = displaced
    return rewritten, left


def _left_of(record: Plan, remaining: Sequence[Edit], merged: Sequence[Edit]) -> Plan:
    """Make the record of a network that was folded in part."""
    keys = {e.operation for e in remaining}
    return record.model_copy(
        update=dict(
            edits=tuple(remaining),
            operations={k: v for k, v in record.operations.items() if k in keys},
            notes=(*record.notes, *_folded_in(merged, remaining)),
        )
    )


def _staying(merged: Sequence[Edit], remaining: Sequence[Edit]) -> list[Edit]:
    """List the edits that a revert leaves in the network: no module comes back in the place of theirs."""
    replaced = {e.site for e in remaining if e.replaces}
    return [e for e in merged if e.site not in replaced]


def _folded_in(merged: Sequence[Edit], remaining: Sequence[Edit]) -> list[Note]:
    """Make the note on what a partial fold has merged into the network: nothing takes that out again."""
    staying = _staying(merged, remaining)
    going = [e for e in merged if e not in staying]
    text = (
        f"folded in, and part of the network now: {_counted(staying)}; what revert gives, which an evaluation takes "
        "for the uncut network, has it too: for the network from before, revert the one that was not folded"
    )
    if going:
        text += f"; {_counted(going)} went into layers that a revert takes out, and goes with these"
    return [Note(code=FOLDED, severity="warning", text=text)] if staying else []


def _counted(edits: Sequence[Edit]) -> str:
    """Name the operations of edits with their numbers."""
    return ", ".join(f"{n} × {name}" for name, n in Counter(e.operation for e in edits).items())


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
        SurgeryWarning: The network was folded in part: what was folded stays in it. Or hooks of yours on inserted
            layers are gone with these; those on the calls of a replaced module move to the one that comes back.

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
    tree = uncut_network(model)
    tell_lost(hooks_in(model), tree)
    return tree


@one_at_a_time
@in_own_state()
def uncut_network(model: nn.Module) -> nn.Module:
    """Return what `revert` gives, without a word on hooks: for a look at the network that nobody puts hooks on.

    Args:
        model: A rewritten network.

    Returns:
        The stock network.

    Raises:
        SurgeryError: As `revert`.
    """
    subject = to_undo(model, "revert")
    record = subject.record
    assert record is not None  # the door lets no other in
    for note in record.notes:
        if note.code == FOLDED:
            warn(note.text, SurgeryWarning)
    tree, displaced = bare(subject.model)
    for edit in reversed(record.edits):
        if edit.layer and has(tree, edit.layer):
            take(tree, edit.layer)
    bound, shared = bound_in(tree, displaced.modules.values()), shared_in(tree)
    for name, module in displaced.modules.items():
        old = tree.get_submodule(name)
        move_hooks(old, module)
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
    what = f"{len(stuck)} of {len(record.edits)} edits do not fold: {'; '.join(lines)}{more}"
    if len(stuck) == len(record.edits):
        return what
    return f"{what} ({either('partial=True', '--partial')} folds the others)"


def _with_what_was_missing(record: Plan, said: str) -> Plan:
    """A record with a note on what its layers had not of their effect when they were folded."""
    if not said:
        return record
    note = Note(code=FOLDED_IN_PART, text=f"{said}: what was folded in is this part of it")
    return record.model_copy(update={"notes": (*record.notes, note)})


def _close_unused(tree: nn.Module, remaining: list[Edit]) -> None:
    """Close the opened norms behind which no inserted layer remains, and take off what stands for functions without
    edits."""
    from surgeon.graph.trees.fused import close_fused, is_opened

    used = {e.site for e in remaining if e.layer}
    for name, module in list(tree.named_modules()):
        if is_opened(module) and name not in used:
            exchange(tree, name, close_fused(module))
    unlift(tree, {e.site for e in remaining})
