"""Applying: a network is looked at, its surgery decided, cut, started, measured and recorded."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surgeon.arguments import checked_seed
from surgeon.edits import Drift, Note, Plan
from surgeon.errors import SurgeonError, SurgeryError, either
from surgeon.graph.measure import measure
from surgeon.graph.survey import Survey
from surgeon.host import in_own_state
from surgeon.images import check_taken, times
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from surgeon.progress import step
from surgeon.surgery.asked import RecipeLike, operations_of
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.calibration import Calibration, gathered
from surgeon.surgery.choice import Started, different, started
from surgeon.surgery.cutting import cut, regions_of
from surgeon.surgery.deciding import decide
from surgeon.surgery.door import Subject, admitted, check_plan
from surgeon.surgery.drift import compare_logits
from surgeon.surgery.looking import seen_of
from surgeon.surgery.norm_inputs import check_calibration
from surgeon.surgery.recording import recorded
from surgeon.surgery.refit import needs_data
from surgeon.surgery.rehearsal import rehearse, told_of
from surgeon.surgery.rewritten import RewrittenModule
from surgeon.surgery.starts import WarmStart, with_starts
from surgeon.surgery.tree import bare
from surgeon.surgery.worded import with_settings

_NOISE_IMAGES = 2


@in_own_state()
def apply(
    model: nn.Module,
    recipe: RecipeLike | Plan,
    *,
    input_size: tuple[int, ...] | None = None,
    seed: int = 0,
    trained: bool | None = None,
    calibration: Calibration | None = None,
    copy: bool = True,
    stack: bool = False,
    seen: Survey | None = None,
    warm_start: WarmStart | None = None,
    settings: Mapping[str, object] | None = None,
    **words: object,
) -> RewrittenModule:
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
    words, settings: as for `surgeon.plan`: `surgeon.apply(model, "kap", kernel_size=5)`.

    A network that torch.fx cannot follow as a whole keeps its class; its sub-networks become GraphModules.

    Warns (CalibrationWarning) where calibration images are few or odd, or another start would keep more; the record has the same notes.

    Raises what `plan` raises, SurgeryError when a plan is for another network, is too large, or when the
    rewritten network does not fit together (naming the node), and DataError for calibration images that are not of the
    network's channels, size or type, are not finite, or are surely not what it was trained on.
    """
    subject = admitted(model, input_size, stack=stack)
    if isinstance(recipe, Plan) and warm_start is not None:
        raise SurgeryError("a plan has its starts already: pass warm_start to surgeon.plan")
    if isinstance(recipe, Plan) and (settings or words):
        named = ", ".join({**(settings or {}), **words})
        raise SurgeryError(f"a plan has its settings already: pass {named} to surgeon.plan")
    images = None if calibration is None else gathered(calibration, len(subject.size or "CHW"))
    subject, notes = _sized(subject, images, free=seen is None and not isinstance(recipe, Plan))
    if isinstance(recipe, Plan):
        wish, options = None, [recipe]
    else:
        title, operations = operations_of(recipe)
        operations = with_settings(operations, settings, words)
        with_starts(operations, warm_start)  # a wrong one is told before the look
        with step("looking at the network"):
            seen = seen or seen_of(bare(model, share=True)[0], subject.size)
        wish = _Wish(subject, title, operations, checked_seed(seed), trained, seen)
        options = wish.plans(images is not None, warm_start)
    made = options[-1]
    check_plan(subject, made)
    _check_images(images, made)
    regions = seen.regions if seen else regions_of(model, made.input_size)
    carried_out = functools.partial(cut, subject, regions=regions, copy=copy)
    if images is None:
        return recorded(_started_alone(subject, carried_out(made)), notes)
    notes = [
        *check_calibration(model, images, made, stated=subject.stated),
        *notes,
    ]
    others = functools.partial(_unasked, subject, wish, made, options, seen)
    return recorded(
        started(model, images, _rehearsed(subject, carried_out), options, others, made.seed), notes
    )


@dataclass(frozen=True)
class _Wish:
    """A recipe for a network, of which plans with one start or another can be made."""

    subject: Subject
    title: str
    operations: list[Operation]
    seed: int
    trained: bool | None
    seen: Survey

    def plan(self, calibrated: bool, warm_start: WarmStart | None) -> Plan:
        """The plan, where images are at hand (`calibrated`) or not."""
        operations = with_starts(self.operations, warm_start)
        trained = True if self.trained is None and calibrated else self.trained
        return decide(
            self.subject, self.title, operations, seed=self.seed, trained=trained, calibrated=calibrated, seen=self.seen
        )  # fmt: skip

    def plans(self, calibrated: bool, warm_start: WarmStart | None) -> list[Plan]:
        """The plans to try, cheapest first; the last one is the one that is asked for."""
        if not calibrated:
            return [self.plan(False, warm_start)]
        known = dataclasses.replace(self, trained=True if self.trained is None else self.trained)
        return different([known.plan(False, warm_start), known.plan(True, warm_start)])


def _sized(subject: Subject, images: Tensor | None, *, free: bool) -> tuple[Subject, list[Note]]:
    """The subject at the size of the calibration images, where that is `free` and another than the network is configured for, and
    the network runs on them too; with a note that says so."""
    if images is None or subject.stated or not free:
        return subject, []
    check_taken(images, subject.model, "calibration images")
    size, known = tuple(images.shape[1:]), subject.size
    if known is None or known == size or measure(subject.model, size).error:
        return subject, []
    text = f"cut for {times(size)}, the size of the calibration images; the model is configured for {times(known)}"
    return dataclasses.replace(subject, size=size, stated=True), [
        Note(code="images", severity="info", text=text)
    ]


def _check_images(images: Tensor | None, made: Plan) -> None:
    """Raise SurgeryError for a plan that starts from images, where there are none."""
    if images is None and needs_data(made):
        raise SurgeryError(
            f"the plan starts from data ({needs_data(made)}): "
            + either(
                "pass calibration images, or plan without them",
                "give images (--calibration, or --data of convert)",
            )
        )


def _started_alone(subject: Subject, attempt: Attempt) -> Started:
    """The network as it is cut, without images: run once, and its drift measured on noise."""
    made = attempt.made
    with told_of(attempt.network, made.input_size):
        drift = _noise_drift(subject.model, attempt)
    if drift is None:
        rehearse(subject.model, attempt.network, made.input_size, made.before.flops)
    return Started(attempt, None, drift)


def _rehearsed(subject: Subject, carried_out: Callable[[Plan], Attempt]) -> Callable[[Plan], Attempt]:
    """Carrying a plan out and running the network once."""

    def run(made: Plan) -> Attempt:
        attempt = carried_out(made)
        rehearse(subject.model, attempt.network, made.input_size, made.before.flops)
        return attempt

    return run


def _unasked(
    subject: Subject, wish: _Wish | None, made: Plan, options: Sequence[Plan], seen: Survey | None
) -> list[Plan]:
    """Plans with the starts that a trained network gets by itself, where others were asked for."""
    by_itself = all(o.get("start", "auto") == "auto" for o in made.operations.values())
    if wish is not None and (wish.trained is False or by_itself):
        return []
    operations = [parse(o) for o in made.operations.values()] if wish is None else wish.operations
    seen = seen or seen_of(bare(subject.model, share=True)[0], made.input_size)
    at_its_size = dataclasses.replace(subject, size=made.input_size, stated=made.input_size is not None)
    other = _Wish(at_its_size, made.recipe, operations, made.seed, True, seen)
    try:
        found = [other.plan(given, "auto") for given in (False, True)]
    except SurgeonError:  # a setting that goes with the start that was asked for alone
        return []
    return [p for p in different(found) if all(p.edits != o.edits for o in options)]


def _noise_drift(model: nn.Module, attempt: Attempt) -> Drift | None:
    record = attempt.record
    if record.effect in ("exact", "destroyed") or not record.measured or record.input_size is None:
        return None
    generator = torch.Generator().manual_seed(record.seed)
    noise = torch.randn(_NOISE_IMAGES, *record.input_size, generator=generator)
    return compare_logits(model, attempt.network, noise, "noise")
