"""Cutting: carrying a plan out."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version

import torch
from torch import Tensor, nn

from surgeon.edits import Drift, Edit, Execution, Plan
from surgeon.errors import SurgeonError, SurgeryError, either
from surgeon.graph.survey import Region, Survey, find_regions
from surgeon.layers.memory_format import memory_format_of
from surgeon.operations import Operation, parse
from surgeon.selection import INPUT
from surgeon.surgery.drift import compare_logits
from surgeon.surgery.fitness import refuse_empty, refuse_unfit
from surgeon.surgery.planning import RecipeLike, fingerprint, look, plan, refuse_second
from surgeon.surgery.refit import needs_data, refit
from surgeon.surgery.starts import WarmStart
from surgeon.surgery.statistics import reestimate_statistics, running_statistics, separate_statistics
from surgeon.surgery.tree import Displaced, bare, carve, hang, open_site, put, shared_in, surgery_of

_NOISE_IMAGES = 2


def apply(
    model: nn.Module,
    recipe: RecipeLike | Plan,
    *,
    input_size: tuple[int, ...] | None = None,
    seed: int = 0,
    trained: bool | None = None,
    calibration: Tensor | None = None,
    copy: bool = True,
    stack: bool = False,
    seen: Survey | None = None,
    warm_start: WarmStart | None = None,
) -> nn.Module:
    """The network after surgery: a GraphModule whose record is its attribute `surgery`. `model` is untouched.

    recipe: as for `surgeon.plan`, or a Plan that it made (input_size, seed and trained are then the plan's).
    calibration: images as the network takes them, (N, C, H, W); batch-norm statistics are taken from them
        again after a cut that changes the function, and the drift of the logits is measured on them.
    copy: False shares parameters and buffers with `model` instead of copying them.
    stack: allow a network that has had surgery, and add to it.
    seen: what `surgeon.surgery.look` saw of this same network at this size, so that several cuts share one look.
    warm_start: as for `surgeon.plan`.

    A network that torch.fx cannot follow as a whole keeps its class; its sub-networks become GraphModules.

    Raises what `plan` raises, and SurgeryError when a plan is for another network, is too large, or when the
    rewritten network does not fit together (naming the node).
    """
    if isinstance(recipe, Plan):
        if warm_start is not None:
            raise SurgeryError("a plan has its starts already: pass warm_start to surgeon.plan")
        refuse_second(model, stack)
        made = recipe
    else:
        seen = seen or look(model, input_size=input_size)
        made = plan(
            model, recipe, input_size=input_size, seed=seed, stack=stack, seen=seen,
            trained=True if trained is None and calibration is not None else trained,
            calibrated=calibration is not None, warm_start=warm_start,
        )  # fmt: skip
    _refuse(model, made)
    if calibration is None and needs_data(made):
        raise SurgeryError(
            f"the plan starts from data ({needs_data(made)}): "
            + either(
                "pass calibration images, or plan without them",
                "give images (--calibration, or --data of convert)",
            )
        )
    operations = {k: parse(o) for k, o in made.operations.items()}
    tree, displaced = bare(model, share=not copy)
    regions = seen.regions if seen else _regions(tree, made.input_size)
    residuals = cut_tree(tree, made.edits, operations, displaced, made.recipe)
    previous = surgery_of(model)
    record = _combined(previous, made) if previous else made
    rewritten = _carved(tree, record, made, regions)
    statistics = 0
    if calibration is not None and (needs_data(made) or record.effect in ("approximated", "destroyed")):
        displaced.statistics = {**running_statistics(tree), **displaced.statistics}
        if not copy:
            separate_statistics(rewritten)
        fitted = refit(rewritten, model, made, operations, calibration)
        residuals |= fitted.errors
        displaced.statistics = {**fitted.displaced, **displaced.statistics}
        if record.effect in ("approximated", "destroyed"):
            statistics = reestimate_statistics(rewritten, calibration)
    execution = Execution(
        versions=_versions(), statistics=statistics, residuals=residuals,
        drift=_drift(model, rewritten, record, calibration),
    )  # fmt: skip
    rewritten.__dict__["surgery"] = record.model_copy(update={"execution": execution})
    rewritten.__dict__["displaced"] = displaced
    return rewritten


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
        with torch.no_grad():
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


def _drift(model: nn.Module, rewritten: nn.Module, record: Plan, images: Tensor | None) -> Drift | None:
    if record.effect == "exact" or not record.measured:
        return None
    if images is not None:
        return compare_logits(model, rewritten, images[:64], "calibration")
    if record.effect == "destroyed" or record.input_size is None:
        return None
    generator = torch.Generator().manual_seed(record.seed)
    noise = torch.randn(_NOISE_IMAGES, *record.input_size, generator=generator)
    return compare_logits(model, rewritten, noise, "noise")


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
