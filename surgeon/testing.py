"""The conformance suite for operations, including those of other packages.

from surgeon.testing import check_operation
check_operation({"op": "my-op"}, model, input_size=(3, 32, 32))
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.edits import Edit, Plan
from surgeon.errors import (
    CalibrationWarning,
    FoldError,
    SelectionError,
    SurgeonError,
    SurgeryError,
    VerificationError,
    line_of,
)
from surgeon.extra_state import without_extra
from surgeon.host import in_own_state
from surgeon.methods.base import Operation
from surgeon.methods.needs import needs_data
from surgeon.methods.registry import parse
from surgeon.models.logits import first_tensor
from surgeon.results.paper import Paper
from surgeon.results.threat import Attack
from surgeon.surgery import apply, plan, revert
from surgeon.surgery.folding import folded_network
from surgeon.tensors.own_calls import PastOwnCalls
from surgeon.verification import relative

FOLD_TOLERANCE = 1e-6
ANNEAL_TOLERANCE = 1e-5
_CALIBRATION = 16
"""Images for operations that start from data."""


@in_own_state()
def check_operation(
    operation: Operation | Mapping[str, Any], model: nn.Module, *, input_size: tuple[int, ...], seed: int = 0
) -> nn.Module:
    """Check that an operation does what every operation must do, on a copy of `model`.

    The plan is the same twice and survives JSON. The model is left untouched. Tensors that were not replaced
    keep their names and values, but for statistics taken again on images, and the stock state dict loads.
    Outputs and gradients are finite in both modes. Copies and pickles give equal outputs. The global random
    state has no influence and is not changed. Folding, in float64, gives equal outputs under stock names, or is
    refused as the plan says. Surrogates take and give what their layers do, and the paper's tables are attacks.
    What anneals begins as the network was, and changes. Reverting restores the original bit for bit. A second
    surgery is refused. Where the plan is another one with calibration images, all of this holds for both.

    Args:
        operation: The operation, or its settings with the key `op`.
        model: A network that the operation can cut.
        input_size: (C, H, W) of the images to try it on.
        seed: Seed of the cut and of the images.

    Returns:
        The rewritten network; of two plans that of the one without images.

    Raises:
        VerificationError: A requirement is not met; the message names the first, and the method that answers wrong.

    Examples:
        >>> import surgeon
        >>> from surgeon.testing import check_operation
        >>> model = surgeon.create_model("zoo/shallow1")
        >>> len(check_operation({"op": "kap"}, model, input_size=(3, 32, 32)).surgery.edits)
        1
    """
    model = copy.deepcopy(model)
    before = {k: v.clone() for k, v in without_extra(model.state_dict()).items()}
    images = torch.rand(_CALIBRATION, *input_size, generator=torch.Generator().manual_seed(seed))
    plans: list[Plan] = []
    for calibrated in (True, False):  # `apply` with images takes the weights to be trained
        asked: Any = dict(input_size=input_size, seed=seed, calibrated=calibrated, trained=calibrated or None)
        made = plan(model, operation, **asked)
        _check_words(made)
        _demand(made == plan(model, operation, **asked), "the plan differs the second time")
        _demand(Plan.model_validate_json(made.model_dump_json()) == made, "the plan does not survive JSON")
        if all(made.edits != other.edits for other in plans):
            plans.append(made)
    return [_check_plan(made, operation, model, before, images) for made in plans][-1]


def _check_plan(
    made: Plan,
    operation: Operation | Mapping[str, Any],
    model: nn.Module,
    before: Mapping[str, Tensor],
    images: Tensor,
) -> nn.Module:
    """Check what one plan does, and return the rewritten network. before: the state of `model`."""
    input_size, seed = tuple(images.shape[1:]), made.seed
    modes = [m.training for m in model.modules()]

    def carried_out() -> nn.Module:
        with warnings.catch_warnings(), _naming("the cut"):
            warnings.simplefilter("ignore", CalibrationWarning)  # of so few images
            return apply(model, made, calibration=images if needs_data(made) else None)

    random = torch.get_rng_state()
    cut = carried_out()
    _demand(torch.equal(torch.get_rng_state(), random), "applying draws from the global random state")
    torch.rand(7)
    again = carried_out()
    torch.set_rng_state(random)
    _demand(_same(cut, again), "the cut depends on the global random state")
    _demand(
        all(torch.equal(v, before[k]) for k, v in without_extra(model.state_dict()).items()),
        "the model's tensors changed",
    )
    _demand([m.training for m in model.modules()] == modes, "the model's modes changed")
    replaced = tuple(f"{e.site}." for e in made.edits if e.replaces)
    untouched = [k for k in before if not k.startswith(replaced)]
    _demand(all(k in cut.state_dict() for k in untouched), "tensors that were not replaced lost their names")
    now = cut.state_dict()
    # What was set again on images comes back with the original, below.
    retaken = getattr(cut.__dict__.get("displaced"), "statistics", {})
    kept = [k for k in untouched if k not in retaken]
    _demand(all(torch.equal(now[k], before[k]) for k in kept), "tensors that were not replaced changed")
    if not replaced:
        result = cut.load_state_dict(before, strict=False)
        _demand(
            not result.missing_keys,
            f"the stock state dict does not load, {', '.join(result.missing_keys[:3])} is missing: derive the layer "
            "from surgeon.methods.OptionalState, which keeps what it has, or register the buffer with persistent=False",
        )
        _demand(not result.unexpected_keys, "the stock state dict has tensors for which there is no place")
    x = torch.randn(4, *input_size, generator=torch.Generator().manual_seed(seed))
    for training in (True, False):
        _finite(carried_out(), x, training)
    cut.eval()
    wanted = _output(cut, x)
    for name, made_again in (
        ("deepcopy", copy.deepcopy),
        ("pickle", lambda c: pickle.loads(pickle.dumps(c))),
    ):
        with _naming(f"a {name} of the network"):
            twin = made_again(cut)
        _demand(torch.equal(_output(twin, x), wanted), f"a {name} gives other outputs")
    # In float64, where folding differs by rounding alone: float32 would hide an error of 1e-6.
    _check_fold(cut, made, x, {k: before[k].shape for k in untouched}, model)
    _check_surrogates(cut, made, x)
    _check_anneal(cut, made, x)
    _check_paper(made)
    back = revert(cut)
    _demand(type(back) is type(model) and _same(back, model), "reverting does not give the original")
    _demand(list(without_extra(back.state_dict())) == list(before), "reverting loses the order of names")
    try:
        apply(cut, operation, input_size=input_size)
    except SurgeryError:
        return cut
    raise VerificationError("a second surgery is not refused")


def _check_fold(
    cut: nn.Module, made: Plan, x: Tensor, stock: Mapping[str, torch.Size], before: nn.Module
) -> None:
    """Check that the network folds, up to rounding, if the plan says so, under stock names; uncut modules keep their
    shapes."""
    double = copy.deepcopy(cut).double().eval()
    try:
        folded = folded_network(double)
    except FoldError:
        _demand(not made.folds, "the plan says it folds, and it does not")
        return
    except Exception as raised:  # a method of another package may raise anything
        raise VerificationError(f"fold: {line_of(raised)}") from raised
    _demand(made.folds, "the plan says it does not fold, and it does")
    error = relative(_output(folded, x.double()), _output(double, x.double()))
    _demand(error <= FOLD_TOLERANCE, f"the folded network differs by {error:.1e}")
    replaced = tuple(f"{e.site}." for e in made.edits if e.replaces)
    shapes = {k: v.shape for k, v in without_extra(folded.state_dict()).items() if not k.startswith(replaced)}
    extra = [k for k in shapes if k not in stock]
    _demand(
        not extra,
        f"the folded network has {', '.join(extra[:3])}, and a stock checkpoint has no such tensor: what cannot "
        "go into a bias goes into the running mean of context.next_norm, or the edit says folds=False",
    )
    cut_at = tuple(f"{e.site}." for e in made.edits)  # a kernel that took up its layer may be larger
    other = [
        k
        for k, shape in stock.items()
        if k not in shapes or (shapes[k] != shape and not k.startswith(cut_at))
    ]
    _demand(not other, f"the folded network has {', '.join(other[:3])} not at all, or in another shape")
    new = {n: type(m) for n, m in folded.named_modules()}
    shape_of = {k: v.shape for k, v in without_extra(folded.state_dict()).items()}
    kept = new == {n: type(m) for n, m in before.named_modules()} and shape_of == {
        k: v.shape for k, v in without_extra(before.state_dict()).items()
    }
    _demand(
        kept != made.leaves_architecture,
        "the folded network has the modules and shapes of the one before, and an edit says exchanges=True"
        if kept
        else "the folded network has other modules or shapes than the one before, and no edit says exchanges=True",
    )


def _check_words(made: Plan) -> None:
    """Check that each edit says in words what it needs images for."""
    for operation, edit in _asked(made):
        with _naming(f"needs_images of {edit.operation}"):
            words: Any = operation.needs_images(edit)
            _demand(
                isinstance(words, str),
                f'it gives {words!r} at {edit.site}: a few words for messages, or "" where no image is needed',
            )


def _check_surrogates(cut: nn.Module, made: Plan, x: Tensor) -> None:
    """Check that each surrogate gives the shape of its layer, and finite values, for what the layer is given."""
    complaints: list[str] = []

    def compare(name: str, stand: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(_layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
            try:
                stands = stand(given[0])
            except Exception as error:  # a module of another package may raise anything
                complaints.append(f"the surrogate of {name} raises {type(error).__name__}: {line_of(error)}")
                return
            if not isinstance(stands, Tensor) or stands.shape != output.shape:
                gives = tuple(stands.shape) if isinstance(stands, Tensor) else f"a {type(stands).__name__}"
                complaints.append(
                    f"the surrogate of {name} gives {gives} where the layer gives {tuple(output.shape)}; "
                    "an attack would have to ignore it"
                )
            elif torch.isfinite(output).all() and not torch.isfinite(stands).all():
                complaints.append(f"the surrogate of {name} gives values that are not finite")

        return hook

    twin = copy.deepcopy(cut).eval()
    for operation, edit in _asked(made):
        if edit.layer is None and not edit.replaces:
            continue
        name = edit.layer or edit.site
        layer = twin.get_submodule(name)
        with _naming(f"surrogate of {edit.operation}"):
            stand: Any = operation.surrogate(edit, layer)
            _demand(
                stand is None or isinstance(stand, nn.Module),
                f"it gives {stand!r} for {name}: a module, the layer itself, or None",
            )
        if stand is not None and stand is not layer:
            layer.register_forward_hook(PastOwnCalls(compare(name, stand.eval())))
    _output(twin, x)
    _demand(not complaints, next(iter(complaints), ""))


def _check_anneal(cut: nn.Module, made: Plan, x: Tensor) -> None:
    """Check that what anneals begins with the network as it was cut, changes, and stays finite."""
    growing = [(operation, edit) for operation, edit in _asked(made) if operation.anneals(edit)]
    if not growing:
        return
    twin = copy.deepcopy(cut).eval()
    layers = [twin.get_submodule(edit.layer or edit.site) for _, edit in growing]

    def at(progress: float) -> list[bytes]:
        for (operation, edit), layer in zip(growing, layers, strict=True):
            with _naming(f"anneal of {edit.operation}"), torch.no_grad():
                operation.anneal(edit, layer, progress)
        output = _output(twin, x)
        _demand(
            bool(torch.isfinite(output).all()),
            f"anneal of {growing[0][1].operation}: the output at progress {progress:g} is not finite",
        )
        return [pickle.dumps(layer) for layer in layers]

    start = _output(twin, x)
    first = at(0.0)
    error = relative(_output(twin, x), start)
    _demand(
        error <= ANNEAL_TOLERANCE,
        f"anneal of {growing[0][1].operation}: the output at progress 0 differs from that of the network as it was cut "
        f"by {error:.1e}: build makes the layer as it is at progress 0",
    )
    at(0.5)
    for (_, edit), one, other in zip(growing, first, at(1.0), strict=True):
        _demand(
            one != other,
            f"anneal of {edit.operation}: nothing of {edit.layer or edit.site} changes from progress 0 to 1",
        )
    for (operation, edit), layer in zip(growing, layers, strict=True):
        with _naming(f"share_of_effect of {edit.operation}"):
            share: Any = operation.share_of_effect(edit, layer)
        _demand(
            share is None or share == 1,
            f"share_of_effect of {edit.operation}: it gives {share!r} for {edit.layer or edit.site} at progress 1: "
            "1, or None where it is not known",
        )


def _check_paper(made: Plan) -> None:
    """Check that the paper of each operation is one, and that its tables give attacks."""
    for settings in made.operations.values():
        with _naming(f"paper of {settings['op']}"):
            paper = parse(settings).paper()
        if paper is None:
            continue
        _demand(
            isinstance(paper, Paper),
            f"paper() of {settings['op']} gives a {type(paper).__name__}, not a Paper",
        )
        for sources in ((), ("resnet18",)):
            with _naming(f"paper of {settings['op']}, tables(sources={sources}, seed=0)"):
                attacks: Any = list(paper.tables(sources, 0))
            _demand(
                bool(attacks) and all(isinstance(a, Attack) for a in attacks),
                f"the tables of the paper {paper.name} give no attacks, or other things, for sources={sources}",
            )


def _asked(made: Plan) -> Iterator[tuple[Operation, Edit]]:
    """Yield each edit of a plan with its operation."""
    operations = {key: parse(settings) for key, settings in made.operations.items()}
    return ((operations[edit.operation], edit) for edit in made.edits)


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Inside, whatever an operation raises becomes a VerificationError that begins with `what`."""
    try:
        yield
    except SelectionError:
        raise
    except VerificationError as error:
        raise VerificationError(f"{what}: {error}") from error.__cause__
    except Exception as error:  # a method of another package may raise anything
        kind = "" if isinstance(error, SurgeonError) else f"{type(error).__name__}: "
        raise VerificationError(f"{what}: {kind}{line_of(error)}") from error


def _finite(network: nn.Module, x: Tensor, training: bool) -> None:
    """Check that outputs and gradients are finite in one mode."""
    mode = "training" if training else "evaluation"
    with _naming(f"the network in {mode} mode"):
        output = first_tensor(network.train(training)(x))
    _demand(
        output is not None and bool(torch.isfinite(output).all()), f"the output in {mode} mode is not finite"
    )
    output.square().mean().backward()  # type: ignore[union-attr]  # demanded above
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    _demand(
        bool(grads) and all(bool(torch.isfinite(g).all()) for g in grads),
        f"gradients in {mode} mode are not finite",
    )


def _output(network: nn.Module, x: Tensor) -> Tensor:
    """Return the network's main output, without gradients; layers that are always random draw the same each time."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output = first_tensor(network(x))
    if output is None:
        raise VerificationError("the network gives no tensor")
    return output


def _same(a: nn.Module, b: nn.Module) -> bool:
    """Say whether two networks have equal state dicts."""
    one, two = without_extra(a.state_dict()), without_extra(b.state_dict())
    return one.keys() == two.keys() and all(torch.equal(v, two[k]) for k, v in one.items())


def _demand(holds: bool, complaint: str) -> None:
    """Raise VerificationError with `complaint` unless the condition holds."""
    if not holds:
        raise VerificationError(complaint)
