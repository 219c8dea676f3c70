"""Planning: what a recipe would do to a network, decided on data before anything is touched."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from surgeon.arguments import checked_seed
from surgeon.edits import Edit, Growth, Note, Plan
from surgeon.errors import RecipeError, SelectionError, SurgeonError, SurgeryError, either
from surgeon.extra_state import without_extra
from surgeon.graph.measure import measure
from surgeon.graph.survey import Survey, survey
from surgeon.graph.trace import needed_inputs
from surgeon.host import in_own_state
from surgeon.images import channels_of, image_size
from surgeon.methods.base import Context, Operation
from surgeon.methods.registry import parse
from surgeon.models import input_size_of, input_std_of, name_of, num_classes_of
from surgeon.recipe import Recipe, load_recipe
from surgeon.selection import PassedOver, Site
from surgeon.spelling import split
from surgeon.surgery.fitness import refuse_unfit
from surgeon.surgery.starts import WarmStart, with_starts
from surgeon.surgery.tree import bare, free_name, surgery_of
from surgeon.values import has_values

RecipeLike = str | Recipe | Operation | Mapping[str, Any] | Sequence[Any]


@in_own_state()
def sites(model: nn.Module, *, input_size: tuple[int, ...] | None = None) -> tuple[Site, ...]:
    """Every place of a network where an operation can cut, in execution order.

    input_size: (C, H, W), or (C, T, H, W) for video; by default what the model's own configuration says.
    """
    return look(model, input_size=input_size).sites


@in_own_state()
def look(model: nn.Module, *, input_size: tuple[int, ...] | None = None) -> Survey:
    """What `plan` and `apply` see of a network before they decide: pass it to both as `seen`, to look once.

    It holds until a module of the network is exchanged or its code branches otherwise.
    """
    refuse_unfit(model)
    return _survey(bare(model, share=True)[0], image_size(input_size, model) or input_size_of(model))


@in_own_state()
def plan(
    model: nn.Module,
    recipe: RecipeLike,
    *,
    input_size: tuple[int, ...] | None = None,
    seed: int = 0,
    trained: bool | None = None,
    calibrated: bool = False,
    stack: bool = False,
    seen: Survey | None = None,
    warm_start: WarmStart | None = None,
) -> Plan:
    """What `recipe` would do to `model`, which is left untouched.

    recipe: a shipped name (several joined by '+'), a file, a Recipe, an Operation, a mapping, or a list of these.
    input_size: (C, H, W) without the batch, by default what the model's own configuration says.
    seed: of every random choice, from 0 to 2³² − 1; the same seed gives the same plan and the same cut.
    trained: whether the weights carry training; by default seen in the batch norms' statistics.
    calibrated: whether `apply` will be given calibration images, which allows better starts.
    stack: allow a network that has had surgery; the plan then holds the new edits alone.
    seen: what `look` saw of this same network at this size, so that several plans share one look.
    warm_start: what becomes of trained weights, instead of what the operations' own `start` says: one start for all that
        know it ("lstsq", "sequential", "replicate", "anneal", "naive"; "distill", "mean"), or {operation: start}.

    Raises RecipeError, SelectionError (no site), TraceError (nothing torch.fx can follow), SurgeryError
    (surgery has been done already).
    """
    seed = checked_seed(seed)
    refuse_unfit(model)
    refuse_second(model, stack)
    title, operations = _operations(recipe)
    operations = with_starts(operations, warm_start)
    stated = image_size(input_size, model)
    size = stated or input_size_of(model)
    untouched = seen is not None and surgery_of(model) is None and not any(o.reshapes for o in operations)
    scratch = model if untouched else bare(model, share=True)[0]
    seen = seen or _survey(scratch, size)
    context = Context(
        trained=looks_trained(scratch) if trained is None else trained,
        num_classes=num_classes_of(model),
        calibrated=calibrated,
        input_std=input_std_of(model),
    )
    if stated and seen.regions[0].name == "" and seen.measured and seen.measured.error:
        more = needed_inputs(scratch)[1:]
        if more:
            raise SurgeryError(
                f"{name_of(model)} takes other inputs than an image ({', '.join(more)}), so that it cannot be run here on "
                f"{either(f'input_size={stated}', '--input-size ' + ','.join(map(str, stated)))}: leave it out; shapes and FLOPs are then not counted"
            )
        taken = channels_of(scratch)
        if taken not in (None, stated[0]):
            raise SurgeryError(
                f"{name_of(model)} takes images of {taken} channels, not of {stated[0]}: write "
                f"{either(f'input_size={(taken, *stated[1:])}', '--input-size ' + ','.join(map(str, (taken, *stated[1:]))))}"
            )
        raise SurgeryError(f"{name_of(model)} does not run on an image of {size}: {seen.measured.error}")
    before = Growth(
        parameters=sum(p.numel() for p in model.parameters()),
        buffers=sum(b.numel() for b in model.buffers()),
        flops=seen.measured.flops if seen.measured else 0,
        activations=seen.measured.activations if seen.measured else 0,
    )
    previous = surgery_of(model)
    keyed = _keyed(operations, previous)
    edits: list[Edit] = []
    passed: list[PassedOver] = []
    notes = _survey_notes(seen, size)
    gone: dict[str, str] = {}
    for number, (key, operation) in enumerate(keyed.items()):
        usable = [s for s in seen.sites if s.name not in gone]
        try:
            proposal = operation.propose(usable, context)
        except SelectionError as error:
            raise SelectionError(_explain(error, title, key, gone, seen)) from error
        new = [_finished(e, key, seed, scratch, edits) for e in proposal.edits]
        notes += _twice(new, edits, key)
        edits += new
        passed += proposal.passed_over
        passed += [
            PassedOver(site=s, operation=key, reason=f"replaced by {by}")
            for s, by in gone.items()
            if any(t.name == s and t.kind == operation.kind for t in seen.sites)
        ]
        notes += proposal.notes
        if operation.consumes:
            gone |= {e.site: key for e in new if e.replaces}
        if operation.binds and new and size is not None:
            notes.append(_bound_note(key, new, size))
        if operation.reshapes:
            from surgeon.surgery.cutting import cut_tree

            cut_tree(scratch, new, {key: operation})
            _demand_runs(scratch, size, seen, f"recipe {title}, operation {key}")
            if number + 1 < len(keyed):
                seen = _survey(scratch, size)
    passed += [PassedOver(site=n, operation="", reason=r) for n, r in seen.hidden.items()]
    passed += [
        PassedOver(
            site=n or name_of(model), operation="", reason=f"it calls {r} as a function: only modules are cut"
        )
        for n, r in seen.functional.items()
    ]
    return Plan(
        model=name_of(model),
        fingerprint=previous.fingerprint if previous else fingerprint(model),
        input_size=size,
        seed=seed,
        recipe=title,
        operations={k: o.model_dump(mode="json", exclude_defaults=False) for k, o in keyed.items()},
        edits=tuple(edits),
        passed_over=tuple(passed),
        before=before,
        measured=bool(seen.measured and not seen.measured.error),
        notes=tuple(notes),
    )


def _demand_runs(tree: nn.Module, size: tuple[int, ...] | None, seen: Survey, what: str) -> None:
    """Raise SelectionError for a network that ran before an operation that changes sizes, and does not after it."""
    if size is None or seen.measured is None or seen.measured.error:
        return
    error = measure(tree, size).error
    if error:
        raise SelectionError(
            f"{what}: the network is built for the sizes that it has, and fails with others: {error}"
        )


def refuse_second(model: nn.Module, stack: bool) -> None:
    """Raise SurgeryError for a network that has had surgery, unless it is to be stacked."""
    record = surgery_of(model)
    if record is None:
        if any(surgery_of(m) is not None for m in model.modules()):
            raise SurgeryError("a part of this model has had surgery by itself; revert that part first")
        return
    if not stack:
        there = ", ".join(f"{len(record.of(k))} × {k}" for k in record.operations)
        raise SurgeryError(
            f"this model has had surgery already ({there}); "
            + either(
                "pass stack=True to add to it, or start from surgeon.revert(model)",
                "--stack adds to it; surgeon revert gives the network before",
            )
        )


def fingerprint(model: nn.Module) -> str:
    """Hash of a network's structure: its class, and the names and shapes of its tensors."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, tensor in sorted(without_extra(model.state_dict()).items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
    return digest.hexdigest()[:16]


def looks_trained(model: nn.Module) -> bool:
    """Whether any batch norm's running statistics have moved from where they start."""
    for module in model.modules():
        if isinstance(module, _NormBase) and isinstance(module.running_mean, torch.Tensor):
            if not has_values(module.running_mean):
                return False
            if bool(module.running_mean.any()):
                return True
    return False


def _survey(model: nn.Module, size: tuple[int, ...] | None) -> Survey:
    found = survey(model, size)
    if not found.regions:
        reason = next(iter(found.hidden.values()), "it has no convolution and no norm")
        raise SurgeryError(f"{type(model).__name__} has no part that torch.fx can follow: {reason}")
    return found


def _survey_notes(seen: Survey, size: tuple[int, ...] | None) -> list[Note]:
    notes = []
    if size is None:
        notes.append(
            Note(
                code="size",
                text="the input size is not known: shapes, FLOPs and memory are not counted; say it to have them",
            )
        )
    elif seen.measured and seen.measured.error:
        notes.append(
            Note(code="size", text=f"the network does not run on one image of {size}: {seen.measured.error}")
        )
    if seen.regions[0].name:
        parts = ", ".join(r.name for r in seen.regions[:3]) + (", …" if len(seen.regions) > 3 else "")
        notes.append(
            Note(code="partial", text=f"torch.fx cannot follow the network as a whole; it is cut inside {parts}, and stays "
                 f"of its own class")
        )  # fmt: skip
    sized = [r.name or "the network" for r in seen.regions if r.traced.sized]
    if sized:
        notes.append(
            Note(
                code="sized",
                text=f"{', '.join(sized)} branches on sizes: its graphs hold for {size}, and images of another size "
                f"get graphs of their own when they first come",
            )
        )
    return notes


def _operations(recipe: Any) -> tuple[str, list[Operation]]:
    if isinstance(recipe, Operation):
        return recipe.name, [recipe]
    if isinstance(recipe, Mapping) and "op" in recipe:
        operation = parse(recipe)
        return operation.name, [operation]
    if isinstance(recipe, str) and "+" in recipe and not Path(recipe).is_file():
        recipe = split(recipe)
    if isinstance(recipe, (str, Recipe, Mapping)) or hasattr(recipe, "__fspath__"):
        loaded = load_recipe(recipe)
        return loaded.name, list(loaded.surgery)
    if isinstance(recipe, Iterable):
        parts = [_operations(r) for r in recipe]
        return "+".join(t for t, _ in parts), [o for _, found in parts for o in found]
    raise SurgeonError(
        f"a recipe is a name, a file, a Recipe, an Operation, a mapping or a list of these, not {type(recipe).__name__}"
    )


def _keyed(operations: Sequence[Operation], previous: Plan | None) -> dict[str, Operation]:
    if not operations:
        raise RecipeError(
            "the recipe has no operation in its surgery part; `surgeon train` and `surgeon run` take it as it is"
        )
    keyed: dict[str, Operation] = {}
    used = dict.fromkeys(previous.operations if previous else ())
    for operation in operations:
        key, number = operation.name, 2
        while key in keyed or key in used:
            key, number = f"{operation.name}#{number}", number + 1
        keyed[key] = operation
    return keyed


def _twice(new: Sequence[Edit], earlier: Sequence[Edit], key: str) -> list[Note]:
    name = key.split("#")[0]
    there = {e.site for e in earlier if e.operation.split("#")[0] == name}
    again = [e.site for e in new if e.site in there]
    text = f"{name} stands twice at {len(again)} sites, the first {again[0]}" if again else ""
    return [Note(code="twice", text=text)] if again else []


def _bound_note(key: str, new: Sequence[Edit], size: tuple[int, ...]) -> Note:
    text = f"the parameters of {key} at {len(new)} sites belong to images of {size}: the rewritten network takes no other"
    return Note(code="bound", text=text)


def _finished(edit: Edit, key: str, seed: int, tree: nn.Module, earlier: list[Edit]) -> Edit:
    layer = edit.layer
    if layer is not None:
        layer = free_name(tree, layer, [e.layer for e in earlier if e.layer])
    return edit.model_copy(
        update=dict(operation=key, layer=layer, seed=zlib.crc32(f"{seed}/{key}/{edit.site}".encode()))
    )


def _explain(error: SelectionError, recipe: str, key: str, gone: Mapping[str, str], seen: Survey) -> str:
    text = f"recipe {recipe}, operation {key}: {error}"
    if seen.hidden:
        text += f" ({len(seen.hidden)} more lie where torch.fx cannot follow)"
    if gone:
        text += f" ({len(gone)} sites are replaced already by {', '.join(sorted(set(gone.values())))})"
    return text
