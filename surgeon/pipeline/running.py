"""`surgeon run`: cut, train, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surgeon.artifact import load
from surgeon.data import Images, Sets, pixels, stratified
from surgeon.evaluation import Assessment, assess
from surgeon.evaluation.progress import progress
from surgeon.evaluation.suites import SAMPLES
from surgeon.machine import made_by
from surgeon.pipeline.evaluating import add_page
from surgeon.pipeline.training import TRAINED, part, train
from surgeon.processes import own_device
from surgeon.recipe import Evaluation, Recipe

EVALUATION = "evaluation"


def run(recipes: Sequence[Recipe], model: str, folder: str | Path, **given: Any) -> Assessment:
    """As `train`, and then the evaluation of the last recipe that has one, in the folder's evaluation/.

    Raises as `train` and `surgeon.evaluation.assess`.
    """
    done = train(recipes, model, folder, **given)
    return evaluate_trained(done.folder, done.sets, part(recipes, "evaluation", Evaluation()), given)


def evaluate_trained(folder: Path, sets: Sets, settings: Evaluation, given: dict[str, Any]) -> Assessment:
    """The evaluation of what was trained in a folder, on its sets' test images; `given` are the arguments of `train`."""
    test, seed = sets.test, given.get("seed", 0)
    labels = test.y if isinstance(test, Images) else test.labels
    chosen = stratified(labels, settings.samples or SAMPLES.get(settings.suite))
    some = (
        Images(test.x[chosen], test.y[chosen])
        if isinstance(test, Images)
        else test.subset(chosen).in_memory()
    )
    found = assess(
        load(folder / TRAINED, device=own_device(given.get("device"))), pixels(some.x), some.y, settings, folder / EVALUATION,
        name=folder.name, data={"source": given.get("data", "digits"), "split": "test"}, examples=chosen,
        class_names=sets.classes, made=made_by(), seed=seed, progress=progress(),
    )  # fmt: skip
    add_page(folder / EVALUATION)
    return found
