"""Cutting: carrying a plan out."""

from __future__ import annotations

import functools
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.edits import Drift, Edit, Execution, Note, Plan
from surgeon.errors import CalibrationWarning, SurgeonError, SurgeryError, either
from surgeon.graph.measure import measure
from surgeon.graph.survey import Region, Survey, find_regions
from surgeon.graph.watch import left_alone
from surgeon.host import in_own_state
from surgeon.images import check_taken, image_size, times
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from surgeon.models import input_size_of
from surgeon.selection import INPUT
from surgeon.surgery.calibration import gathered
from surgeon.surgery.choice import Attempt, Started, different, started
from surgeon.surgery.drift import compare_logits
from surgeon.surgery.fitness import refuse_empty, refuse_unfit
from surgeon.surgery.norm_inputs import check_calibration
from surgeon.surgery.planning import RecipeLike, fingerprint, look, plan, refuse_second
from surgeon.surgery.refit import needs_data
from surgeon.surgery.rehearsal import rehearse, told_of
from surgeon.surgery.standing import standing
from surgeon.surgery.starts import WarmStart
from surgeon.surgery.tree import Displaced, bare, carve, hang, open_site, put, shared_in, surgery_of
from surgeon.tensors.memory_format import memory_format_of

_NOISE_IMAGES = 2


@in_own_state()
def apply(
    model: nn.Module,
    recipe: RecipeLike | Plan,
    *,
    input_size: tuple[int, ...] | None = None,
    seed: int = 0,
    trained: bool | None = None,
    calibration: Tensor | Iterable[Any] | None = None,
    copy: bool = True,
    stack: bool = False,
    seen: Survey | None = None,
    warm_start: WarmStart | None = None,
) -> nn.Module:
    """The network after surgery: a GraphModule whose record is its attribute `surgery`. `model` is untouched.

    recipe: as for `surgeon.plan`, or a Plan that it made (input_size, seed and trained are then the plan's).
    input_size: as for `surgeon.plan`, but by default the calibration images', where there are some and the network runs on them.
    calibration: images as the network takes them, (N, C, H, W) of floats, normalised as in training; or an iterable of such
        batches, alone or with their labels, as a DataLoader gives them, which is read once. At most 2,048 are taken. Where a
        cut changes the function, starts are tried on some of them, and the best by what it keeps on others, held out of it, is
        used (`surgery/choice.py`); the record tells (`surgery.execution.choice`). Fewer than 8 are too few for that.
    copy: False shares parameters and buffers with `model` instead of copying them.
    stack: allow a network that has had surgery, and add to it.
    seen: what `surgeon.surgery.look` saw of this same network at this size, so that several cuts share one look.
    warm_start: as for `surgeon.plan`; a start that is asked for is used, and a note tells where another would keep more.

    A network that torch.fx cannot follow as a whole keeps its class; its sub-networks become GraphModules.

    Warns (CalibrationWarning) where calibration images are few or odd, or another start would keep more; the record has the same notes.

    Raises what `plan` raises, SurgeryError when a plan is for another network, is too large, or when the
    rewritten network does not fit together (naming the node), and DataError for calibration images that are not of the
    network's channels, size or type, are not finite, or are surely not what it was trained on.
    """
    size = image_size(input_size, model)
    images = (
        None if calibration is None else gathered(calibration, len(size or input_size_of(model) or "CHW"))
    )
    theirs = None
    if images is not None and size is None and seen is None and not isinstance(recipe, Plan):
        size = theirs = _size_of(images, model)
    if isinstance(recipe, Plan):
        if warm_start is not None:
            raise SurgeryError("a plan has its starts already: pass warm_start to surgeon.plan")
        refuse_second(model, stack)
        made, options = recipe, [recipe]
    else:
        seen = seen or look(model, input_size=size)
        trained = True if trained is None and images is not None else trained
        planned = functools.partial(
            plan, model, recipe, input_size=size, seed=seed, stack=stack, seen=seen, trained=trained
        )
        made = planned(calibrated=images is not None, warm_start=warm_start)
        options = [made]
    _refuse(model, made)
    if images is None and needs_data(made):
        raise SurgeryError(
            f"the plan starts from data ({needs_data(made)}): "
            + either(
                "pass calibration images, or plan without them",
                "give images (--calibration, or --data of convert)",
            )
        )
    regions = seen.regions if seen else _regions(model, made.input_size)
    cut = functools.partial(_cut, model, regions=regions, copy=copy)
    tried = functools.partial(_tried, model, cut)
    notes: list[Note] = []
    if images is None:
        attempt = cut(made)
        with told_of(attempt.network, made.input_size):
            found = Started(attempt, None, _noise_drift(model, attempt))
        if found.drift is None:
            rehearse(model, attempt.network, made.input_size, made.before.flops)
    else:
        notes = check_calibration(model, images, made, stated=size is not None)
        if theirs is not None:
            text = f"cut for {times(theirs)}, the size of the calibration images; the model is configured for {times(input_size_of(model) or ())}"
            notes.append(Note(code="images", severity="info", text=text))
        if not isinstance(recipe, Plan):
            options = different([planned(calibrated=False, warm_start=warm_start), made])
        found = started(
            model, images, tried, options, functools.partial(_unasked, model, recipe, made, options, trained, seen), made.seed
        )  # fmt: skip
    return _recorded(found, notes)


def _size_of(images: Tensor, model: nn.Module) -> tuple[int, ...] | None:
    """The size of calibration images, where the network is configured for another one and runs on them too; else None."""
    check_taken(images, model, "calibration images")
    size = tuple(images.shape[1:])
    known = input_size_of(model)
    return size if known is not None and known != size and not measure(model, size).error else None


def _cut(model: nn.Module, made: Plan, *, regions: list[Region], copy: bool) -> Attempt:
    """Carry a plan out, on a copy of the network."""
    operations = {k: parse(o) for k, o in made.operations.items()}
    tree, displaced = bare(model, share=not copy)
    residuals = cut_tree(tree, made.edits, operations, displaced, made.recipe)
    previous = surgery_of(model)
    record = _combined(previous, made) if previous else made
    rewritten = _carved(tree, record, made, regions)
    return Attempt(rewritten, tree, made, record, operations, displaced, residuals)


def _tried(model: nn.Module, cut: Callable[[Plan], Attempt], made: Plan) -> Attempt:
    """A cut network that has been run once."""
    attempt = cut(made)
    rehearse(model, attempt.network, made.input_size, made.before.flops)
    return attempt


def _recorded(found: Started, notes: Sequence[Note]) -> nn.Module:
    """The network that was chosen, with its record; what is to be warned of is warned of."""
    attempt = found.attempt
    notes = [*notes, *found.notes, *_unfitted(attempt.unfitted)]
    for note in notes:
        if note.severity == "warning":
            warnings.warn(
                note.text, CalibrationWarning, stacklevel=4
            )  # of what called `apply`, which stands behind its guard
    execution = Execution(
        versions=_versions(), statistics=attempt.statistics, residuals=attempt.residuals, unfitted=attempt.unfitted,
        drift=found.drift, choice=found.choice,
    )  # fmt: skip
    update = {"execution": execution, "notes": (*attempt.record.notes, *notes)}
    attempt.network.__dict__["surgery"] = attempt.record.model_copy(update=update)
    attempt.displaced.standing = standing(attempt.network, attempt.record.edits)
    attempt.network.__dict__["displaced"] = attempt.displaced
    return attempt.network


def _unfitted(found: Mapping[str, str]) -> list[Note]:
    """A note for each reason why sites were not fitted to images."""
    by_reason: dict[str, list[str]] = {}
    for site, reason in found.items():
        by_reason.setdefault(reason, []).append(site)
    return [
        Note(code="start", severity="info", text=f"{', '.join(sites[:3])}{f' and {len(sites) - 3} more' if len(sites) > 3 else ''} keep the start without images: {reason}")
        for reason, sites in by_reason.items()
    ]  # fmt: skip


def _unasked(
    model: nn.Module, recipe: Any, made: Plan, options: Sequence[Plan], trained: bool | None, seen: Survey | None
) -> list[Plan]:  # fmt: skip
    """Plans with the starts that a trained network gets by itself, where others were asked for."""
    by_itself = all(o.get("start", "auto") == "auto" for o in made.operations.values())
    if trained is False or (by_itself and not isinstance(recipe, Plan)):
        return []
    if isinstance(recipe, Plan):
        recipe = [parse(o) for o in made.operations.values()]
    planned = functools.partial(
        plan, model, recipe, input_size=made.input_size, seed=made.seed, stack=True, seen=seen, trained=True
    )
    try:
        found = [planned(calibrated=given, warm_start="auto") for given in (False, True)]
    except SurgeonError:  # a setting that goes with the start that was asked for alone
        return []
    return [p for p in different(found) if all(p.edits != o.edits for o in options)]


@in_own_state()
def replay(model: nn.Module, record: Plan, *, consume: bool) -> nn.Module:
    """Make the cuts of an executed plan on a stock network whose weights are loaded afterwards.

    consume: the network is nobody else's, and is cut itself; a copy of it otherwise.
    """
    _refuse(model, record)
    operations = {k: parse(o) for k, o in record.operations.items()}
    tree, displaced = (model, Displaced()) if consume else bare(model)
    regions = _regions(tree, record.input_size)
    cut_tree(tree, record.edits, operations, displaced, record.recipe, blank=True)
    rewritten = _carved(tree, record, record, regions)
    rewritten.__dict__["surgery"] = record
    displaced.standing = standing(rewritten, record.edits)
    rewritten.__dict__["displaced"] = displaced
    return rewritten


def cut_tree(
    tree: nn.Module,
    edits: Iterable[Edit],
    operations: Mapping[str, Operation],
    displaced: Displaced | None = None,
    recipe: str = "",
    *,
    blank: bool = False,
) -> dict[str, float]:
    """Put every edit's modules into the tree; returns the residuals of least-squares starts by site."""
    residuals: dict[str, float] = {}
    edits, shared = tuple(edits), shared_in(tree)
    turned = _in_channels_last(tree)
    for edit in edits:
        operation = operations[edit.operation]
        module = None if edit.site == INPUT else _module(tree, edit)
        generator = torch.Generator().manual_seed(edit.seed)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.random.default_generator.manual_seed(edit.seed)
                cut = (operation.rebuild if blank else operation.build)(edit, module, generator)
        except SurgeonError as error:
            place = f"{recipe}: " if recipe and recipe != edit.operation else ""
            raise type(error)(f"{place}{edit.operation} at {edit.site}: {error}") from error
        for made in (cut.replacement, cut.layer) if turned else ():
            if made is not None:
                made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub has no such overload
        if cut.replacement is not None and module is not None:
            if displaced is not None and edit.site not in displaced.modules:
                displaced.modules[edit.site] = _without_children(module, edits)
            put(tree, edit.site, cut.replacement, shared)
        if cut.layer is not None and edit.layer is not None:
            if module is not None:
                open_site(tree, edit.site, shared)
            hang(tree, edit.layer, cut.layer)
        if cut.residual is not None:
            residuals[edit.site] = cut.residual
    return residuals


def _module(tree: nn.Module, edit: Edit) -> nn.Module:
    try:
        return tree.get_submodule(edit.site)
    except AttributeError:
        raise SurgeryError(f"the network has no module {edit.site}, which the plan would edit") from None


def _in_channels_last(tree: nn.Module) -> bool:
    """Whether the network's kernels lie in channels_last, as what is put into it then should."""
    return any(memory_format_of(p) == torch.channels_last for p in tree.parameters())


def _without_children(module: nn.Module, edits: Iterable[Edit]) -> nn.Module:
    """The module without the layers that surgery hung below it."""
    import copy

    ours = {e.layer.rpartition(".")[2] for e in edits if e.layer}
    alone = copy.copy(module)
    alone._modules = {k: v for k, v in module._modules.items() if k not in ours}
    return alone


def _regions(tree: nn.Module, input_size: tuple[int, ...] | None) -> list[Region]:
    """The regions of a tree that stays: found on a copy, into whose attributes the network may write while it runs."""
    return find_regions(bare(tree, share=True)[0], input_size)


def _carved(tree: nn.Module, record: Plan, made: Plan, regions: list[Region]) -> nn.Module:
    if any(r.example for r in regions) and any(parse(o).reshapes for o in made.operations.values()):
        regions = _regions(tree, record.input_size)  # the examples' shapes are others now
    rewritten = carve(tree, regions, record.edits)
    if any(e.settings.get("changes_channels") for e in made.edits):
        _check_fits(rewritten, record)
    return rewritten


def _check_fits(rewritten: nn.Module, record: Plan) -> None:
    from torch import fx

    if record.input_size is None or not isinstance(rewritten, fx.GraphModule):
        return
    was = rewritten.training
    rewritten.eval()
    try:
        with left_alone(rewritten), torch.no_grad():
            fx.Interpreter(rewritten, graph=rewritten.graph).run(torch.zeros(1, *record.input_size))
    except Exception as error:
        text = " ".join(str(error).split())
        node = text.partition("While executing ")[2].split(" ")[0].lstrip("%") or "?"
        raise SurgeryError(
            f"after pooling with stride and widen=False the network does not fit together at node {node}: {text[:160]}"
        ) from error
    finally:
        rewritten.train(was)


def _refuse(model: nn.Module, made: Plan) -> None:
    refuse_unfit(model)
    refuse_empty(model)
    record = surgery_of(model)
    present = record.fingerprint if record else fingerprint(model)
    if present != made.fingerprint:
        raise SurgeryError(
            f"the plan was made for {made.model} (fingerprint {made.fingerprint}), not for this "
            f"{type(model).__name__} (fingerprint {present}); make it anew with surgeon.plan"
        )
    large = [n.text for n in made.notes if n.code == "too-large"]
    if large:
        raise SurgeryError(large[0])


def _combined(previous: Plan, made: Plan) -> Plan:
    return made.model_copy(
        update=dict(
            recipe=f"{previous.recipe}+{made.recipe}",
            operations={**previous.operations, **made.operations},
            edits=(*previous.edits, *made.edits),
            passed_over=(*previous.passed_over, *made.passed_over),
            before=previous.before,
            notes=(*previous.notes, *made.notes),
        )
    )


def _noise_drift(model: nn.Module, attempt: Attempt) -> Drift | None:
    record = attempt.record
    if record.effect in ("exact", "destroyed") or not record.measured or record.input_size is None:
        return None
    generator = torch.Generator().manual_seed(record.seed)
    noise = torch.randn(_NOISE_IMAGES, *record.input_size, generator=generator)
    return compare_logits(model, attempt.network, noise, "noise")


def _versions() -> dict[str, str]:
    import surgeon

    found = {
        "surgeon": surgeon.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    for name in ("timm", "torchvision"):
        try:
            found[name] = version(name)
        except Exception:  # a package that is not installed has no version to record
            continue
    return found
