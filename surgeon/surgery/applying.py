"""Apply a recipe: look at the network, decide; for each start cut a copy, run and start it; record the one kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from surgeon.arguments import checked_seed
from surgeon.edits import Note, Plan
from surgeon.errors import SurgeonError, SurgeryError
from surgeon.graph.comparing.beyond import leaves_alone
from surgeon.graph.sites.followed import regions_of
from surgeon.graph.sites.survey import Survey
from surgeon.graph.trees.one_at_a_time import one_at_a_time
from surgeon.host import in_own_state
from surgeon.methods.registry import parse
from surgeon.models.calibration import FEWEST, Calibration, first_copies, gathered
from surgeon.models.norm_inputs import check_calibration
from surgeon.plans_made import is_made_here
from surgeon.progress import step
from surgeon.recipe.asked import RecipeLike, keyed, operations_of
from surgeon.recipe.starts import WarmStart, with_starts
from surgeon.recipe.worded import with_settings
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.choice import AsAsked, Started, Starts, Trials, starts_of
from surgeon.surgery.cutting import cut
from surgeon.surgery.deciding import Wish, different
from surgeon.surgery.door import Subject, admitted, check_images, check_plan, sized
from surgeon.surgery.looking import looked
from surgeon.surgery.measuring import measured, rehearsed
from surgeon.surgery.proposed import demand_proposed
from surgeon.surgery.recording import recorded
from surgeon.surgery.rewritten import RewrittenModule


@one_at_a_time
@in_own_state()
@leaves_alone
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
    """Rewrite a network by a recipe, and return the rewritten network. `model` is left untouched.

    The result is a GraphModule whose record, a `Plan`, is its attribute `surgery`. A network that torch.fx
    cannot trace as a whole keeps its class; its traceable sub-networks become GraphModules.

    Args:
        model: The network to rewrite.
        recipe: As for `surgeon.plan`, or a Plan that it returned. A plan brings its own input_size, seed,
            trained and starts.
        input_size: (C, H, W), or (C, T, H, W) for video. Default: the size of the calibration images, if
            there are any and the network runs on them; otherwise the size in the model's configuration.
        seed: Seed of every random choice, from 0 to 2³² − 1.
        trained: Whether the weights are trained. Default: read off the batch norms' running statistics; with
            calibration images True.
        calibration: Images as the network takes them, (N, C, H, W) floats, normalised as in training; or an
            iterable of such batches, with or without labels, as a DataLoader yields them. It is read once,
            and at most 2,048 images are used. If a cut changes the network's function, several starts are
            fitted to some of the images and compared on the held-out rest; the best one is used
            (`surgery/choice.py`) and the comparison is recorded in `surgery.execution.choice`. Fewer than 8
            images are too few for that. Without images the drift of the logits is measured on noise, of networks of
            up to 2 · 10⁹ FLOPs an image, and of larger ones not at all.
        copy: False shares parameters and buffers with `model` instead of copying them, but for those that the surgery
            fits or replaces, which are new (such as the convolutions that KAP starts from trained ones): an optimizer
            from before does not have these, and a note counts them; `surgeon.training.remap` moves it.
        stack: Allow a network that has already had surgery, and add to it.
        seen: What `surgeon.surgery.look` returned for this network at this size, so that several calls share
            it.
        warm_start: As for `surgeon.plan`. A start that is asked for is used; a note says if another would
            have kept more of the network's function.
        settings: As for `surgeon.plan`.
        **words: Settings of the recipe's operations, as in `surgeon.apply(model, "kap", kernel_size=5)`.

    Returns:
        The rewritten network, in the training mode of `model`.

    Raises:
        SurgeryError: The plan was made for another network, is too large, or says of an edit what surgeon would not
            propose (edits may be left out); the plan needs calibration images and no images are given; the network
            holds weights that are NaN or infinite; a plan is given together with settings or a warm start; or the
            rewritten network does not run (the message names the node).
        DataError: The calibration images have the wrong number of channels, size or type, are not finite, or
            are certainly not normalised as the network's training images were.
        RecipeError: As for `surgeon.plan`.
        SelectionError: As for `surgeon.plan`.

    Warns:
        CalibrationWarning: The calibration images are few or look unusual, or another start would keep more.
            The record has the same notes.

    Examples:
        >>> import surgeon
        >>> model = surgeon.create_model("zoo/shallow2")
        >>> rewritten = surgeon.apply(model, "kap", kernel_size=5)
        >>> [edit.site for edit in rewritten.surgery.of("kap")]
        ['input', 'features.conv1', 'features.conv2']
        >>> surgeon.surgery_of(model) is None
        True
    """
    subject = admitted(model, input_size, stack=stack)
    if isinstance(recipe, Plan) and warm_start is not None:
        raise SurgeryError("a plan has its starts already: pass warm_start to surgeon.plan")
    if isinstance(recipe, Plan) and (settings or words):
        named = ", ".join({**(settings or {}), **words})
        raise SurgeryError(f"a plan has its settings already: pass {named} to surgeon.plan")
    images = None if calibration is None else gathered(calibration, len(subject.size or "CHW"))
    subject, notes = sized(subject, images, free=seen is None and not isinstance(recipe, Plan))
    # The images come before the plan: their size and number decide the input size and the starts to try.
    if isinstance(recipe, Plan):
        wish, options = None, [recipe]
    else:
        title, operations = operations_of(recipe)
        operations = with_settings(operations, settings, words)
        with_starts(operations, warm_start)  # fail on a wrong start now, before the slow look
        by_key, seed = keyed(operations, subject.record), checked_seed(seed)
        with step("looking at the network"):
            look = looked(subject, seen)
        wish, seen = Wish(look, title, by_key, seed, trained), look.survey
        options = wish.plans(images is not None, warm_start)
    made = options[-1]
    check_plan(subject, made)
    if isinstance(recipe, Plan) and not is_made_here(recipe):
        demand_proposed(subject, made, seen)
    check_images(images, made)
    regions = seen.regions if seen else regions_of(model, made)
    if images is None:
        attempt = cut(subject, made, regions, copy=copy)
        return recorded(
            Started(attempt, None, measured(model, attempt)), [*notes, *_new(model, attempt, copy)]
        )
    notes = [*check_calibration(model, images, made, stated=subject.stated), *_copies(images, made), *notes]

    def try_each(starts: Starts) -> None:
        for option in starts.plans:
            with starts.step(option):
                starts.add(rehearsed(model, cut(subject, option, regions, copy=copy)))

    others = _unasked(subject, wish, options, seen) if len(images) >= FEWEST else []
    starts = starts_of(model, images, options)
    try_each(starts)
    if starts.undecided:
        starts = AsAsked(model, images, made)
        try_each(starts)
    elif isinstance(starts, Trials):
        try_each(starts.beside(others))
    started = starts.started()
    return recorded(started, [*notes, *_new(model, started.attempt, copy)])


def _new(model: nn.Module, attempt: Attempt, copy: bool) -> list[Note]:
    """Note how many parameters of a network that shares them the given one does not have."""
    if copy:
        return []
    old, all_of_them = set(map(id, model.parameters())), list(attempt.network.parameters())
    new = [p for p in all_of_them if id(p) not in old]
    text = (
        f"{len(new)} of {len(all_of_them)} parameters are new, fitted or replaced, in spite of copy=False: an "
        "optimizer from before does not train them; surgeon.training.remap(optimizer, before, after) moves it"
    )
    return [Note(code="new-parameters", severity="info", text=text)] if new else []


def _copies(images: Tensor, made: Plan) -> list[Note]:
    """Note that calibration images repeat one another, where something is taken from them."""
    distinct = len(first_copies(images).unique())
    if distinct == len(images) or made.effect == "exact":
        return []
    text = (
        f"{len(images)} calibration images are {distinct} distinct ones, pixel by pixel: copies weigh more, and starts "
        "are compared on images of which no copy was fitted to"
    )
    return [Note(code="images", severity="warning" if 2 * distinct < len(images) else "info", text=text)]


def _unasked(subject: Subject, wish: Wish | None, options: Sequence[Plan], seen: Survey | None) -> list[Plan]:
    """Return plans with the starts that `auto` would choose, if other starts were asked for."""
    made = options[-1]
    by_itself = all(o.get("start", "auto") == "auto" for o in made.operations.values())
    if made.effect in ("exact", "folds") or wish is not None and (wish.trained is False or by_itself):
        return []
    operations = {k: parse(o) for k, o in made.operations.items()} if wish is None else wish.operations
    at_its_size = dataclasses.replace(subject, size=made.input_size, stated=made.input_size is not None)
    try:
        look = looked(at_its_size, seen, made.refused)
        other = Wish(look, made.recipe, operations, made.seed, True)
        plans = [other.plan(calibrated, "auto") for calibrated in (False, True)]
    except SurgeonError:  # a setting that is valid only with the start that was asked for
        return []
    return [p for p in different(plans) if all(p.edits != o.edits for o in options)]
