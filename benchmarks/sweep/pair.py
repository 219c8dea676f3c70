"""A pair of model and recipe → a row: how far it came, and why no further."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import nn

from benchmarks.sweep import stages
from benchmarks.sweep.kinds import VARIANTS, kinds, needs_norm, representatives
from benchmarks.sweep.order import family_of
from benchmarks.sweep.subject import REAL, Subject
from surgeon.edits import Plan
from surgeon.errors import SelectionError, SurgeryError
from surgeon.graph.trees.leaves import is_convolution, is_norm
from surgeon.methods.registry import parse
from surgeon.recipe import load_recipe

Row = dict[str, Any]


class Limit(NamedTuple):
    """What a pair may have to run on real tensors: numbers of the model and of what surgery adds,
    operations an image."""

    parameters: int
    growth: int
    flops: int


LIGHT = Limit(parameters=15_000_000, growth=8_000_000, flops=1_000_000_000)
WHOLE = Limit(parameters=REAL, growth=60_000_000, flops=12_000_000_000)
"""For the recipes that go through all stages."""


def blank(model: str, recipe: str) -> Row:
    """A row about which nothing is known yet."""
    return {
        "model": model,
        "family": family_of(model),
        "recipe": recipe,
        "outcome": "",
        "cause": "",
        "stages": {},
    }


def run_pairs(subject: Subject, recipes: Iterable[str], *, only_plans: bool = False) -> Iterator[Row]:
    """A row a recipe."""
    whole = set() if only_plans else representatives(subject.number)
    for recipe in recipes:
        yield run_pair(subject, recipe, whole=recipe in whole, only_plan=only_plans)


def run_pair(subject: Subject, recipe: str, *, whole: bool, only_plan: bool = False) -> Row:
    """Take a pair through the stages; `whole` for all of them, `only_plan` for the first."""
    began = time.perf_counter()
    row = blank(subject.name, recipe)
    row["edits"] = 0
    done: dict[str, str] = row["stages"]
    try:
        row |= {"layers": subject.reach.layers, "reached": subject.reach.layers - len(subject.reach.missed)}
        made = stages.plan(subject, recipe)
        row["edits"] = len(made.edits)
        done["plan"] = "ok"
        if not only_plan:
            subject = _with_or_without_data(subject, made, whole)
            for stage, result in _stages(subject, recipe, made, whole):
                done[stage] = result
        row["outcome"] = "ok"
    except Exception as error:  # whatever is raised is what the sweep is for: it becomes the row's cause
        row["outcome"] = "refused" if not done and _no_site(error, subject, recipe) else "failed"
        row["cause"] = (
            f"{'' if isinstance(error, stages.Failed) else type(error).__name__ + ': '}{_line(error)}"
        )
        if row["outcome"] == "failed":
            failed = next(s for s in _ORDER if s not in done)
            done[failed] = "failed"
            row["where"] = _where(error)
    row["tensors"] = "fake" if subject.fake else "real"
    row["seconds"] = round(time.perf_counter() - began, 3)
    return row


_ORDER = ("plan", "apply", "names", "visible", "forward", "backward", "fold", "identity", "save_load")


def _stages(subject: Subject, recipe: str, made: Plan, whole: bool) -> Iterator[tuple[str, str]]:
    cut = stages.apply(subject, made)
    yield "apply", "ok"
    stages.names(subject, cut)
    yield "names", "ok"
    stages.visible(subject, cut)
    yield "visible", "ok"
    if subject.fake and (not subject.runs_without_data or not (whole or any(e.replaces for e in made.edits))):
        return
    output = stages.forward(subject, cut)
    yield "forward", "ok"
    if subject.fake and not whole:
        return
    stages.backward(subject, cut)
    yield "backward", "ok"
    if not whole:
        return
    stages.fold(subject, cut, output)
    yield "fold", "ok"
    if subject.fake:
        return
    yield "identity", "ok" if stages.identity(subject, recipe) else "none"
    stages.save_load(subject, cut, output)
    yield "save_load", "ok"


def _with_or_without_data(subject: Subject, made: Plan, whole: bool) -> Subject:
    limit = WHOLE if whole or not subject.runs_without_data else LIGHT
    flops = subject.flops + made.growth.flops
    if any(parse(o).reshapes for o in made.operations.values()):
        flops *= 16  # a stem of stride 4 loses it
    fits = (
        subject.parameters <= limit.parameters
        and made.growth.parameters + made.growth.buffers <= limit.growth
        and flops <= limit.flops
    )
    return subject if fits else subject.meta


def _no_site(error: Exception, subject: Subject, recipe: str) -> bool:
    """Whether the plan says that the architecture has no place for the recipe, and none lies hidden from the graphs."""
    if isinstance(error, SelectionError):
        return not any(_takes(recipe, subject.model.get_submodule(n)) for n in subject.seen.hidden)
    return isinstance(error, SurgeryError) and "no convolution and no norm" in str(error)


def _takes(recipe: str, module: nn.Module) -> bool:
    """Whether the module is of the kind that the recipe cuts at; the first of all convolutions is never hidden."""
    recipe, *settings = VARIANTS.get(recipe, (recipe,))
    if settings:
        return is_norm(module)
    if recipe == "soft-pool":
        return type(module).__name__.startswith("MaxPool")
    if needs_norm(recipe):
        return is_norm(module) and "BatchNorm" in type(module).__name__
    at_the_stem = recipe in kinds()["behind input"] or any(o.reshapes for o in load_recipe(recipe).surgery)
    return is_convolution(module) and not at_the_stem


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
