"""What is done with a pair of model and recipe: a function a stage, which raises Failed where a promise is broken."""

from __future__ import annotations

import copy
import functools
import tempfile
from typing import Any

import torch
from torch import Tensor, nn

import surgeon
from benchmarks.sweep.kinds import OTHER_SHAPES, VARIANTS, draws
from benchmarks.sweep.kinds import identity as settings_of_identity
from benchmarks.sweep.subject import Subject, inputs, main_output, run
from surgeon.edits import Plan
from surgeon.errors import FoldError
from surgeon.graph.rewritten.module_tree import bare, carve
from surgeon.graph.sites.function_modules import hang_functions
from surgeon.kept_modes import mode
from surgeon.methods.needs import needs_data
from surgeon.methods.registry import parse
from surgeon.recipe import Recipe, load_recipe
from surgeon.surgery import replay
from surgeon.surgery.cutting import cut_tree
from surgeon.training import adversarial_noise
from surgeon.verification import layers_called, names_kept, relative

TOLERANCE = 1e-4
"""Relative difference, in the 2-norm over all outputs, up to which two networks in single precision count as equal."""


class Failed(Exception):
    """A promise that does not hold."""


@functools.cache
def loaded(recipe: str, more: tuple[str, ...] = ()) -> Recipe:
    """A shipped recipe with the sweep's settings and `more`."""
    name, *own = VARIANTS.get(recipe, (recipe,))
    return load_recipe(name, [*settings(recipe), *own, *more])


def settings(recipe: str) -> list[str]:
    """Settings of a sweep: weight maps of any size, since pairs that are too large have no data; caches of few
    classes."""
    if recipe.startswith("wm-") and recipe != "wm-input-scale":
        return ["weight-map.max_parameters=1000000000000"]
    return ["adversarial-noise.num_classes=10"] if recipe == "canl" else []


def plan(subject: Subject, recipe: str, more: tuple[str, ...] = ()) -> Plan:
    """The plan of a recipe at the subject's size."""
    return surgeon.plan(
        subject.model, loaded(recipe, more), input_size=subject.size, trained=False, seen=subject.seen
    )


def apply(subject: Subject, made: Plan) -> nn.Module:
    """The cut network, which shares the subject's tensors. What starts from calibration images, which most pairs
    do without, gets its layers as they are made."""
    if not subject.fake and needs_data(made):
        return replay(bare(subject.model, share=True)[0], made, consume=True)
    if not subject.fake:
        return surgeon.apply(subject.model, made, copy=False, seen=subject.seen)
    with torch.device(
        "meta"
    ):  # surgeon.apply refuses a network without data; loading makes the same cuts blank
        return _without_data(subject, made)


def _without_data(subject: Subject, made: Plan) -> nn.Module:
    tree, displaced = bare(subject.model, share=True)
    operations = {k: parse(o) for k, o in made.operations.items()}
    hang_functions(tree, subject.seen.regions, made.edits)
    cut_tree(tree, made.edits, operations, displaced, made.recipe, blank=True)
    cut = carve(tree, subject.seen.regions, made.edits, displaced)
    cut = cut.to("meta")  # with the tensors that tracing came upon
    cut.__dict__ |= {"surgery": made, "displaced": displaced}
    return cut


def names(subject: Subject, cut: nn.Module) -> None:
    """Tensors that were not replaced keep names and shapes."""
    _demand(names_kept(subject.model, cut, cut.surgery))


def visible(subject: Subject, cut: nn.Module) -> None:
    """Inserted layers are called."""
    _demand(layers_called(cut, cut.surgery))


def forward(subject: Subject, cut: nn.Module) -> Tensor:
    """Outputs in evaluation mode have the stock model's shape, are finite, and equal where the record says so."""
    given, wanted = run(subject, cut), subject.output
    if given.shape != wanted.shape and not (
        _counts_boxes(given, wanted) or _larger(cut.surgery, given, wanted)
    ):
        raise Failed(f"the output has shape {tuple(given.shape)}, not {tuple(wanted.shape)}")
    if subject.fake:
        return given
    exact = cut.surgery.effect in ("exact", "folds")
    if not bool(torch.isfinite(given).all()):
        if exact and bool(torch.isfinite(wanted).all()):
            raise Failed("the output is not finite, and the stock network's is")
        double = copy.deepcopy(cut).double()
        if not bool(torch.isfinite(run(subject, double, dtype=torch.float64)).all()):
            raise Failed("the output is not finite, nor is it in double precision")
        return given  # random weights, whose outputs outgrow single precision
    if exact:
        _same(given, wanted, "the record says that the function is kept; in evaluation mode")
    return given


def _counts_boxes(given: Tensor, wanted: Tensor) -> bool:
    return given.dim() == 2 and given.shape[1:] == wanted.shape[1:] == (4,)


def _larger(record: Plan, given: Tensor, wanted: Tensor) -> bool:
    """Whether it is a network of tokens or maps behind a stem that keeps more of the image."""
    reshapes = any(parse(o).reshapes for o in record.operations.values())
    axes = (2,) if wanted.dim() == 3 else (1, 3)  # of channels: tokens, or maps of either kind
    return (
        reshapes and given.dim() == wanted.dim() > 2 and any(given.shape[a] == wanted.shape[a] for a in axes)
    )


def backward(subject: Subject, cut: nn.Module) -> None:
    """A training step, with the noise of the layers that have one, gives finite gradients."""
    given = inputs(subject, training=True)
    try:
        with mode(cut, True):
            if len(given) == 1:
                labels = torch.zeros(2, dtype=torch.int64, device=given[0].device)
                with adversarial_noise(cut, given[0], labels, lambda output, _: _loss(output)):
                    _loss(cut(given[0])).backward()
            else:
                _loss(cut(*given)).backward()
        grads = [p.grad for p in cut.parameters() if p.grad is not None]
        if not grads:
            raise Failed("no parameter has a gradient")
        if not subject.fake and not all(bool(torch.isfinite(g).all()) for g in grads):
            raise Failed("gradients are not finite")
    finally:
        subject.restore()


def _loss(output: Any) -> Tensor:
    if isinstance(output, dict) and output and all(v.dim() == 0 for v in output.values()):
        return sum(output.values())  # type: ignore[return-value]  # there is a value
    return main_output(output).float().abs().mean()


def identity(subject: Subject, recipe: str) -> bool:
    """Whether the cut network equals the stock one in both modes at settings that change nothing, if it has such."""
    nothing = settings_of_identity(recipe)
    if nothing is None:
        return False
    cut = apply(subject, plan(subject, recipe, tuple(nothing)))
    _same(run(subject, cut), subject.output, "at identity settings, in evaluation mode")
    if draws(recipe):
        return True
    outputs = [_trained(subject, network) for network in (subject.model, cut)]
    _same(outputs[1], outputs[0], "at identity settings, in training mode")
    return True


def _trained(subject: Subject, network: nn.Module) -> Tensor:
    """The output in training mode, with dropout, from a fixed random state."""
    try:
        with mode(network, True), torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            output = network(*inputs(subject, training=True))
            if isinstance(output, dict) and all(v.dim() == 0 for v in output.values()):
                return torch.stack(list(output.values()))
            return main_output(output)
    finally:
        subject.restore()


def save_load(subject: Subject, cut: nn.Module, output: Tensor) -> None:
    """A network that was saved and loaded gives the same outputs, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        surgeon.save(cut, folder, overwrite=True)
        again = run(subject, surgeon.load(folder))
    if not torch.equal(again, output):
        raise Failed(f"loaded, it gives other outputs: relative difference {relative(again, output):.1e}")


def fold(subject: Subject, cut: nn.Module, output: Tensor) -> None:
    """It folds where the plan says so, into the stock class, names and shapes, with the same function."""
    try:
        folded = surgeon.fold(cut)
    except FoldError as error:
        if cut.surgery.folds:
            raise Failed(f"the plan says that it folds: {error}") from error
        return
    if not cut.surgery.folds:
        raise Failed("the plan says that it does not fold, and it does")
    if type(folded) is not type(subject.model):
        raise Failed(f"folded, it is a {type(folded).__name__}")
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (folded, subject.model)]
    if shapes[0] != shapes[1] and cut.surgery.recipe not in OTHER_SHAPES:
        raise Failed("folded, its tensors have other names or shapes")
    if not subject.fake:
        _same(run(subject, folded), output, "folded")


def _same(given: Tensor, wanted: Tensor, what: str) -> None:
    if given.shape == wanted.shape and torch.equal(given, wanted):
        return
    difference = relative(given, wanted)
    if not difference <= TOLERANCE:
        raise Failed(f"{what}: relative difference {difference:.1e}")


def _demand(check: Any) -> None:
    if check.ok is False:
        raise Failed(f"{check.name}: {check.detail}")
