"""Decide which edits a recipe's operations make at a network's sites."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from surgeon.conditions import matches
from surgeon.edits import Edit, Growth, Note, Plan
from surgeon.errors import SelectionError
from surgeon.graph.measuring.measure import measure
from surgeon.graph.measuring.signatures import first_input, needed_inputs, of_one_input, spared_inputs
from surgeon.graph.rewritten.module_tree import bare, free_name
from surgeon.graph.sites.distinct_calls import mixed_up
from surgeon.graph.sites.followed import seen_of
from surgeon.graph.sites.function_modules import hang_functions
from surgeon.graph.sites.survey import Survey
from surgeon.graph.trees.fingerprints import layers_hash
from surgeon.methods.base import Context, Operation, Proposal
from surgeon.models.facts import input_std_of, name_of, num_classes_of
from surgeon.recipe.starts import WarmStart, with_starts
from surgeon.selection import INPUT, PassedOver, Site, is_call
from surgeon.surgery.cutting import cut_tree
from surgeon.surgery.looking import Looked


def decide(
    look: Looked,
    title: str,
    operations: Mapping[str, Operation],
    *,
    seed: int,
    trained: bool | None,
    calibrated: bool,
) -> Plan:
    """Make the plan of a recipe's operations for a network.

    Args:
        look: The network, which was looked at.
        title: Name of the recipe.
        operations: The operations by the keys that the record uses, in order.
        seed: As for `surgeon.plan`, as are the following.
        trained: Whether the weights are trained; None looks at batch-norm statistics.
        calibrated: Whether `apply` will get calibration images.

    Returns:
        The plan.

    Raises:
        SelectionError: An operation finds no usable site, or leaves a network that does not run.
    """
    subject, seen = look.subject, look.survey
    model, size = subject.model, subject.size
    reshaped = any(o.reshapes for o in operations.values())
    scratch = bare(look.tree, share=True)[0] if reshaped else look.tree
    context = Context(
        trained=look.trained if trained is None else trained,
        num_classes=num_classes_of(model),
        calibrated=calibrated,
        input_std=input_std_of(model),
    )
    standing = subject.record.edits if subject.record else ()
    so_far = _SoFar(scratch, seen, size, seed, title, notes=list(look.notes), standing=standing)
    for number, (key, operation) in enumerate(operations.items()):
        so_far.add(key, operation, context, last=number + 1 == len(operations))
    return Plan(
        model=name_of(model),
        fingerprint=subject.fingerprint,
        layers=layers_hash(subject.model),
        input_size=size,
        seed=seed,
        recipe=title,
        operations={k: o.model_dump(mode="json", exclude_defaults=False) for k, o in operations.items()},
        edits=tuple(so_far.edits),
        passed_over=(*so_far.passed, *_unreached(so_far.seen, name_of(model))),
        refused=seen.refused,
        before=_before(model, seen),
        measured=bool(so_far.seen.measured and not so_far.seen.measured.error),
        notes=(*so_far.notes, *_of_first_input(so_far.edits, model)),
    )


@dataclass(frozen=True)
class Wish:
    """A recipe for a network, from which plans with different starts can be made."""

    look: Looked
    title: str
    operations: Mapping[str, Operation]
    seed: int
    trained: bool | None

    def plan(self, calibrated: bool, warm_start: WarmStart | None) -> Plan:
        """Return the plan for a cut.

        Args:
            calibrated: Whether there are calibration images.
            warm_start: As for `surgeon.plan`.

        Returns:
            The plan.
        """
        operations = with_starts(list(self.operations.values()), warm_start)
        trained = True if self.trained is None and calibrated else self.trained
        by_key = dict(zip(self.operations, operations, strict=True))
        return decide(self.look, self.title, by_key, seed=self.seed, trained=trained, calibrated=calibrated)

    def plans(self, calibrated: bool, warm_start: WarmStart | None) -> list[Plan]:
        """Return the plans to try.

        Args:
            calibrated: Whether there are calibration images.
            warm_start: As for `surgeon.plan`.

        Returns:
            The plans, cheapest first; the last one is the plan that was asked for.
        """
        if not calibrated:
            return [self.plan(False, warm_start)]
        known = dataclasses.replace(self, trained=True if self.trained is None else self.trained)
        return different([known.plan(False, warm_start), known.plan(True, warm_start)])


def different(plans: Sequence[Plan]) -> list[Plan]:
    """Drop plans that have the edits of an earlier one.

    Args:
        plans: The plans.

    Returns:
        The remaining plans, in order.
    """
    return [p for i, p in enumerate(plans) if all(p.edits != q.edits for q in plans[:i])]


@dataclass
class _SoFar:
    """What the operations so far have decided.

    scratch: the tree on which operations that change sizes are carried out, so that later ones see the new
    sizes.
    """

    scratch: nn.Module
    seen: Survey
    size: tuple[int, ...] | None
    seed: int
    title: str
    notes: list[Note]
    standing: tuple[Edit, ...] = ()
    """What earlier surgery did, whose layers are in the network."""
    edits: list[Edit] = field(default_factory=list)
    passed: list[PassedOver] = field(default_factory=list)
    gone: dict[str, str] = field(default_factory=dict)
    """Site → the operation that replaced it, so that later ones leave it alone."""
    made: dict[str, Operation] = field(default_factory=dict)
    """The operations whose costs depend on the sizes of maps."""

    def add(self, key: str, operation: Operation, context: Context, *, last: bool) -> None:
        """Let an operation, called `key` in the record, propose its edits."""
        proposal = self._proposal(key, operation, context)
        fixed = {s.name: why for s in self.seen.sites if (why := _irreplaceable(s))}
        # The activation within a norm is no site of its own: the norm still is one when the activation is replaced.
        fixed |= {s: f"replaced by {by}" for s, by in self.gone.items()}
        fixed |= _with_layers_in_front(self.edits, key)
        mixed = mixed_up(self.seen, self.scratch, proposal.edits)
        usable = [e for e in proposal.edits if not (e.replaces and e.site in fixed) and e.site not in mixed]
        new = [_finished(e, key, self.seed, self.scratch, self.edits) for e in usable]
        self.notes += _twice(new, (*self.standing, *self.edits), key)
        self.edits += new
        self.passed += proposal.passed_over
        self.passed += [
            PassedOver(site=e.site, operation=key, reason=fixed[e.site])
            for e in proposal.edits
            if e.replaces and e.site in fixed
        ]
        self.passed += [PassedOver(site=s, operation=key, reason=why) for s, why in mixed.items()]
        self.passed += [
            PassedOver(site=s, operation=key, reason=f"replaced by {by}")
            for s, by in self.gone.items()
            if any(t.name == s and t.is_a(operation.kind) for t in self.seen.sites)
        ]
        self.notes += proposal.notes
        if operation.consumes:
            self.gone |= {e.site: key for e in new if e.replaces}
        if operation.binds and new and self.size is not None:
            self.notes.append(_bound_note(key, new, self.size))
        # Later operations must see the new sizes: the edits are carried out on the scratch tree, which is then looked
        # at again. That is the expensive step, so it is left out after the last operation unless costs depend on it.
        if operation.reshapes:
            hang_functions(self.scratch, self.seen.regions, new)
            cut_tree(self.scratch, new, {key: operation})
            self._measure_again(key, len(new))
            now = self.seen if last and not self.made else seen_of(self.scratch, self.size, self.seen.refused)
            for earlier in self.made.items():
                self._count_again(*earlier, context, now)
            if not last:
                self.seen = now
        elif any(e.growth.flops or e.growth.activations for e in new):
            self.made[key] = operation

    def _proposal(self, key: str, operation: Operation, context: Context) -> Proposal:
        """Let an operation propose edits at sites that no earlier operation replaced."""
        usable = [s for s in self.seen.sites if s.name not in self.gone]
        try:
            proposal = operation.propose(usable, context)
            if proposal.edits and all(e.site in self.gone for e in proposal.edits):
                raise SelectionError(f"{operation.name} has no site left")
            return proposal
        except SelectionError as error:
            asked = [n for n in self.seen.hidden if _asked_for(n, operation)]
            text = _explain(error, self.title, key, self.gone, self.seen, asked)
            way = of_one_input(self.scratch) if self.size is None else ""
            raise SelectionError(f"{text}; {way}" if way else text) from error

    def _measure_again(self, key: str, number: int) -> None:
        """Count what the last edits add by changing the sizes of all layers behind them.

        Raises SelectionError if the network ran before an operation and does not run after it.
        """
        before = self.seen.measured
        if self.size is None or before is None or before.error:
            return
        after = measure(self.scratch, self.size)
        if after.error:
            raise SelectionError(
                f"recipe {self.title}, operation {key}: the network is built for the sizes "
                f"that it has, and fails with others: {after.error}"
            )
        if number:
            more = Growth(
                flops=after.flops - before.flops, activations=after.activations - before.activations
            )
            edit = self.edits[-number]
            self.edits[-number] = edit.model_copy(update={"growth": edit.growth + more})

    def _count_again(self, key: str, operation: Operation, context: Context, now: Survey) -> None:
        """Count what an operation's edits cost on the maps that a later operation has made larger or smaller."""
        sites = [s for s in now.sites if self.gone.get(s.name, key) == key]
        try:
            again = operation.propose(sites, context).edits
        except SelectionError:
            return
        for number, edit in enumerate(self.edits):
            same = (e for e in again if (e.site, e.settings) == (edit.site, edit.settings))
            if edit.operation == key and (measured_site := next(same, None)) is not None:
                cost = {k: getattr(measured_site.growth, k) for k in ("flops", "activations")}
                self.edits[number] = edit.model_copy(update={"growth": edit.growth.model_copy(update=cost)})


def _irreplaceable(site: Site) -> str:
    """Return why no other module can take a site's place, or ""."""
    if site.read:
        return "a function reads its weight, so that another module in its place would not be called"
    if site.kind == "attention":
        return "the layers inside of it are called, and another module in its place would not be"
    return ""


def _before(model: nn.Module, seen: Survey) -> Growth:
    """Return the costs of the network before the surgery."""
    return Growth(
        parameters=sum(p.numel() for p in model.parameters()),
        buffers=sum(b.numel() for b in model.buffers()),
        flops=seen.measured.flops if seen.measured else 0,
        activations=seen.measured.activations if seen.measured else 0,
    )


def _unreached(seen: Survey, name: str) -> list[PassedOver]:
    """List what torch.fx cannot trace, and functions that do a layer's work, as sites passed over."""
    hidden = [PassedOver(site=n, operation="", reason=r) for n, r in seen.hidden.items()]
    return hidden + [
        PassedOver(site=n or name, operation="", reason=f"it calls {r} as a function: only modules are cut")
        for n, r in seen.functional.items()
    ]


def _twice(new: Sequence[Edit], earlier: Sequence[Edit], key: str) -> list[Note]:
    """Note sites at which an operation already is."""
    name = key.split("#")[0]
    there = {e.site for e in earlier if e.operation.split("#")[0] == name}
    again = [e.site for e in new if e.site in there]
    text = f"{name} stands twice at {len(again)} sites, the first {again[0]}" if again else ""
    return [Note(code="twice", text=text)] if again else []


def _bound_note(key: str, new: Sequence[Edit], size: tuple[int, ...]) -> Note:
    """Note that an operation's parameters bind the network to one size of image."""
    text = (
        f"the parameters of {key} at {len(new)} sites belong to images of {size}: the "
        "rewritten network takes no other"
    )
    return Note(code="bound", text=text)


def _of_first_input(edits: Sequence[Edit], model: nn.Module) -> list[Note]:
    """Note which inputs of a network the layers at its input do not reach; no warning where a call can do without."""
    first = first_input(model)
    needed, spared = [n for n in needed_inputs(model) if n != first], spared_inputs(model)
    at_input = list(dict.fromkeys(e.operation for e in edits if e.site == INPUT))
    if not at_input or not (needed or spared):
        return []
    wanted = [*([f"{' and '.join(needed)} too"] if needed else [])]
    wanted += (
        [f"{' and '.join(spared)} where a call gives {'them' if spared[1:] else 'it'}"] if spared else []
    )
    text = (
        f"{' and '.join(at_input)} at the input {'stand' if at_input[1:] else 'stands'} at {first} alone: the "
        f"network's forward takes {', and '.join(wanted)}, which {'stay' if [*needed, *spared][1:] else 'stays'} as "
        "given; to reach all of them, cut a module around it whose forward takes one tensor and parts it, as "
        "model(x[:, :3], x[:, 3:]) does"
    )
    return [Note(code="inputs", severity="warning" if needed else "info", text=text)]


def _with_layers_in_front(edits: Sequence[Edit], key: str) -> dict[str, str]:
    """Why an operation does not replace what an earlier one replaced together with a layer in front, by site.

    The two belong together: what the layer gives is of the size that the earlier replacement takes.
    """
    return {
        e.site: f"replaced by {e.operation}, with {e.layer} in front; put {key} before {e.operation} in the recipe"
        for e in edits
        if e.replaces and e.before and e.layer
    }


def _finished(edit: Edit, key: str, seed: int, tree: nn.Module, earlier: list[Edit]) -> Edit:
    """Complete an edit by its key, a free name for its layer, and a seed that depends on the site alone."""
    layer = edit.layer
    if layer is not None:
        layer = free_name(tree, layer, [e.layer for e in earlier if e.layer])
    if edit.replaces and is_call(edit.site):
        stays = "the network's code calls a function there: no module of a stock network can take its place"
        edit = edit.model_copy(update=dict(folds=False, note=edit.note or stays))
    return edit.model_copy(
        update=dict(operation=key, layer=layer, seed=zlib.crc32(f"{seed}/{key}/{edit.site}".encode()))
    )


def _asked_for(name: str, operation: Operation) -> bool:
    """Return whether an operation asks for a layer by more than the default, every name."""
    globs = operation.select.include
    return globs != ("**",) and any(matches(name, glob) for glob in globs)


def _explain(
    error: SelectionError,
    recipe: str,
    key: str,
    gone: Mapping[str, str],
    seen: Survey,
    asked: Sequence[str],
) -> str:
    """Add to a selection error what hides sites. asked: those of them that the selector asks for."""
    text = f"recipe {recipe}, operation {key}: {error}"
    if asked:
        more = f" and {len(asked) - 1} more are no sites" if asked[1:] else " is no site"
        text += f" ({asked[0]}{more}: {seen.hidden[asked[0]]})"
    elif seen.hidden:
        text += f" ({len(seen.hidden)} more lie where torch.fx cannot follow)"
    if gone:
        text += f" ({len(gone)} sites are replaced already by {', '.join(sorted(set(gone.values())))})"
    return text
