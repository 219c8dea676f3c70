"""Check a run's folder link by link: data, cut, training, trained network and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from surgeon.data import held_out_of
from surgeon.errors import ArtifactError
from surgeon.ownership import opened as placed
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline.chain.checking import Keep, Misfit, Unknown, checked, opened, unknown, within
from surgeon.pipeline.chain.evaluation import Tested, evaluation_checks
from surgeon.pipeline.chain.network import network_checks
from surgeon.pipeline.chain.origins import Reader, source_checks
from surgeon.pipeline.chain.seals import record_checks
from surgeon.pipeline.chain.training import result_check, training_checks
from surgeon.pipeline.ended import CUT, TRAINED
from surgeon.pipeline.training import RECIPE, SETTINGS
from surgeon.reading import read_mapping
from surgeon.recipe import Recipe, dump
from surgeon.store.folder import check_files
from surgeon.verification import Check

KEYS = (
    "recipes",
    "model",
    "data",
    "root",
    "input_size",
    "weights",
    "seed",
    "split_seed",
    "mixed_precision",
    "training",
    "data_settings",
    "contents",
)
"""The keys that are read of a run's settings."""


def run_checks(folder: Path, reader: Reader) -> list[Check]:
    """The checks of a run's links, in the order in which they were made.

    Args:
        folder: the run's folder.
        reader: opens what the folder names.
    """
    checks, settings = opened(folder, "run", "settings", _settings)
    if settings is None:
        return checks
    if not (folder / CUT).is_dir():
        return [*checks, *_uncut(folder, settings, reader)]
    made, network = network_checks(folder / CUT, reader.allowed, fresh=True)
    checks += source_checks(settings, network, reader)
    checks += within(CUT, made)
    checks += training_checks(folder, settings)
    if not (folder / TRAINED).is_dir():
        return checks
    made, trained = network_checks(folder / TRAINED, reader.allowed)
    checks += within(TRAINED, made)
    checks.append(checked("trained/surgery", lambda: _same_record(folder)))
    checks.append(result_check(folder, settings))
    if (folder / EVALUATION).is_dir():
        tested = tested_of(settings, network, trained, reader)
        checks += within(EVALUATION, evaluation_checks(folder / EVALUATION, tested))
    return [*checks, *record_checks(folder, checks)]


def tested_of(
    settings: dict[str, Any], cut: nn.Module | None, trained: nn.Module | None, reader: Reader
) -> Tested:
    """The subject of the evaluation inside a run: the trained network, test images of the run's own split.

    Args:
        settings: the run's settings.
        cut: the network before training, or None.
        trained: the network after training, or None.
        reader: opens the images.
    """

    def network() -> nn.Module:
        if trained is None:
            raise Unknown("the trained network was not loaded")
        return trained

    return Tested(network, lambda count: held_out_of(reader.sets(settings, cut), count))


def _settings(folder: Path, keep: Keep) -> str:
    settings = read_mapping(folder / SETTINGS)
    missing = [k for k in KEYS if k not in settings]
    if missing:
        raise Misfit(f"{SETTINGS} lacks {', '.join(missing)}")
    recipes = [Recipe.model_validate(r) for r in settings["recipes"]]
    place = settings["weights"]
    keep({**settings, "weights": place and placed(place, folder)})
    if (folder / RECIPE).is_file():
        _same_recipe(folder, recipes)
    return f"{'+'.join(r.name for r in recipes)} on {settings['model']}"


def _same_recipe(folder: Path, recipes: list[Recipe]) -> None:
    if (folder / RECIPE).read_text(encoding="utf-8") != "---\n".join(dump(r) for r in recipes):
        raise Misfit(f"{RECIPE} is not the recipe of {SETTINGS}")


def _same_record(folder: Path) -> str:
    try:
        cut, trained = check_files(folder / CUT), check_files(folder / TRAINED)
    except ArtifactError as error:
        raise Unknown(str(error)) from None
    if cut != trained:
        raise Misfit("its record is not that of cut/: it was trained from another network")
    return "the record of cut/"


def _uncut(folder: Path, settings: dict[str, Any], reader: Reader) -> list[Check]:
    if (folder / TRAINED).is_dir():
        return [Check(name=CUT, ok=False, detail="is missing, and there is a trained network")]
    waiting = unknown(CUT, "not finished: nothing is cut yet; the same command goes on")
    return [*source_checks(settings, None, reader), waiting]
