"""Check a study: one start and one set of images for all arms, and a table that matches their verdicts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from surgeon.errors import SurgeonError
from surgeon.evaluation.finished import read_assessment
from surgeon.models.checkpoints import read_weights
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline.chain.checking import Keep, Misfit, Unknown, checked, opened, some, unknown, within
from surgeon.pipeline.chain.comparing import demand_equal, demand_tensors
from surgeon.pipeline.chain.origins import Reader
from surgeon.pipeline.chain.run import run_checks
from surgeon.pipeline.contents import IMAGES
from surgeon.pipeline.ended import CUT, TRAINED
from surgeon.pipeline.studying import BASE, RESULT, SETTINGS, compared, place_of
from surgeon.pipeline.training import SETTINGS as OF_RUN
from surgeon.reading import read_mapping
from surgeon.recipe import Recipe
from surgeon.results.files import RESULT as EVALUATED
from surgeon.results.study import ARMS
from surgeon.store.artifact import load
from surgeon.store.folder import WEIGHTS
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import uncut_network
from surgeon.verification import Check


def study_checks(folder: Path, reader: Reader) -> list[Check]:
    """The checks of a study: each run, and what they must share.

    Args:
        folder: the study's folder.
        reader: opens what the folder names.
    """
    checks, asked = opened(folder, "study", "settings", _settings)
    if asked is None:
        return checks
    seeds = range(asked["seed"], asked["seed"] + asked["seeds"])
    places = {(arm, seed): place_of(folder, arm, seed) for seed in seeds for arm in ARMS}
    runs = [p for p in (folder / BASE, *places.values()) if (p / OF_RUN).is_file()]
    for place in runs:
        checks += within(place.relative_to(folder).as_posix(), run_checks(place, reader))
    checks.append(checked("one set of images", lambda: _one_set(folder, runs)))
    checks += [
        checked(
            f"one start, seed {seed}",
            partial(_one_start, folder, {a: places[a, seed] for a in ARMS}, reader),
        )
        for seed in seeds
    ]
    missing = [p for p in places.values() if not (p / EVALUATION / EVALUATED).is_file()]
    if missing:
        done = len(places) - len(missing)
        return [
            *checks,
            unknown(RESULT, f"not finished: {done} of {len(places)} runs; the same command goes on"),
        ]
    checks.append(checked(RESULT, lambda: _table(folder, asked, places)))
    return checks


def _settings(folder: Path, keep: Keep) -> str:
    settings = read_mapping(folder / SETTINGS)
    name = _name(settings)
    int(settings["seed"]), int(settings["seeds"])
    keep(settings)
    return f"{name} on {settings['model']}"


def _name(asked: dict[str, Any]) -> str:
    return "+".join(str(r["name"]) for r in asked["recipes"])


def _one_set(folder: Path, runs: list[Path]) -> str:
    """Check that all runs have the same images, and all arms the same weights file."""
    by_run = {r.relative_to(folder).as_posix(): read_mapping(r / OF_RUN)["contents"] for r in runs}
    if not by_run:
        raise Unknown("no run has begun")
    wanted = next(iter(by_run.values()))
    for name, contents in by_run.items():
        for part in IMAGES:
            demand_equal(
                contents[part], wanted[part], f"{name} has other {part} than {next(iter(by_run))}: hash"
            )
    weights = {n: c["weights"] for n, c in by_run.items() if n != BASE}
    if len(set(weights.values())) > 1:
        raise Misfit(
            f"the arms began with different weights files: {some(f'{n} {w}' for n, w in weights.items())}"
        )
    return f"the same for {len(by_run)} runs"


def _one_start(folder: Path, places: dict[str, Path], reader: Reader) -> str:
    """Check that every arm of a seed begins with the same network once the inserted layers are removed."""
    cut = {arm: place / CUT for arm, place in places.items() if (place / CUT).is_dir()}
    if not cut:
        raise Unknown("no arm has begun")
    starts: dict[str, dict[str, Tensor]] = {}
    for arm, place in cut.items():
        try:
            network = load(place, allow_code=reader.allowed)
            stock = network if surgery_of(network) is None else uncut_network(network)
        except SurgeonError as error:
            raise Unknown(f"{arm} cannot be taken back to its start: {error}") from None
        starts[arm] = stock.state_dict()
    first, *others = starts
    for arm in others:
        demand_tensors(starts[arm], starts[first], f"{arm} does not begin with the network of {first}")
    base = folder / BASE / TRAINED / WEIGHTS
    if base.is_file():
        demand_tensors(
            starts[first],
            read_weights(base, names=starts[first]),
            f"{first} does not begin with the network of {BASE}",
        )
    return f"the same network for {len(starts)} arms" + (f", that of {BASE}" if base.is_file() else "")


def _table(folder: Path, asked: dict[str, Any], places: dict[tuple[str, int], Path]) -> str:
    if not (folder / RESULT).is_file():
        raise Unknown("not finished: the table is not made yet; the same command goes on")
    seeds = sorted({seed for _, seed in places})
    results = {arm: [read_assessment(places[arm, seed] / EVALUATION) for seed in seeds] for arm in ARMS}
    name = "+".join(Recipe.model_validate(r).name for r in asked["recipes"])
    again = compared(folder, name, asked["model"], seeds, results)
    demand_equal(
        read_mapping(folder / RESULT), again.model_dump(mode="json"), "the arms' verdicts give another table"
    )
    return f"{len(again.arms)} arms, as their verdicts add up"
