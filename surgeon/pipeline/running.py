"""`surgeon run`: cut, train, evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surgeon.data import Sets, absolute_source, held_out_of
from surgeon.disk.files import absolute
from surgeon.evaluation import Assessment, assess
from surgeon.evaluation.suites import samples_of
from surgeon.host import in_own_state
from surgeon.machine import made_by
from surgeon.models import own
from surgeon.models.facts import num_classes_of
from surgeon.ownership import check_apart, noted, owned
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline import shown_images
from surgeon.pipeline.demands import demand_chosen_from, to_train_on
from surgeon.pipeline.evaluating import add_page, kept_name, network_of
from surgeon.pipeline.tested import on_sets
from surgeon.pipeline.training import TRAINED, part, train
from surgeon.processes import own_device
from surgeon.progress import progress
from surgeon.recipe import Evaluation, Recipe
from surgeon.store.artifact import load


@in_own_state(training=True)
def run(
    recipes: Sequence[Recipe],
    model: str,
    folder: str | Path,
    *,
    sources: Mapping[str, str | Path] | None = None,
    **given: Any,
) -> Assessment:
    """Train as `train` does, then evaluate the trained network into the folder's evaluation/.

    Args:
        recipes: their surgery, applied in order; training, data and evaluation are those of the last recipe
            that has them, else the defaults.
        model: a name, or a folder or `hf-hub:` repository that surgeon wrote.
        folder: the run's folder, which can be resumed.
        sources: folders of networks by name, which are attacked in the place of the trained one (transfer).
        given: the further arguments of `surgeon.pipeline.train`.

    Returns:
        The results of the evaluation.

    Raises:
        SurgeonError: as for `train` and `surgeon.evaluation.assess`.

    Examples:
        >>> from surgeon.pipeline import run
        >>> from surgeon.recipe import load_recipe
        >>> recipes = [load_recipe({"surgery": [{"op": "kap"}], "training": {"epochs": 5}})]
        >>> result = run(recipes, "zoo/lenet5", "runs/kap")  # doctest: +SKIP
        >>> result.summary.clean.value  # doctest: +SKIP
        0.972
    """
    knows = bool(given.get("weights") or given.get("pretrained"))
    data, root = to_train_on(model, given.get("data"), given.get("root"), knows=knows)
    demand_chosen_from(data)
    given = {**given, "data": data, "root": root}
    check_apart(folder, [data])
    with owned(folder):
        done = train(recipes, model, folder, **given)
        return evaluate_trained(
            done.folder,
            done.sets,
            part(recipes, "evaluation", Evaluation()),
            {**given, "model": model},
            done.remarks,
            sources=sources,
        )


def evaluate_trained(
    folder: Path,
    sets: Sets,
    settings: Evaluation,
    given: dict[str, Any],
    remarks: Sequence[str] = (),
    *,
    sources: Mapping[str, str | Path] | None = None,
) -> Assessment:
    """Evaluate the network that was trained in a folder, on the test images of its sets.

    Args:
        folder: the run's folder.
        sets: the images that it was trained on and is tested on.
        settings: how to evaluate.
        given: the arguments of `train`, with `model`.
        remarks: sentences to keep with the results.
        sources: as for `run`.
    """
    seed = given.get("seed", 0)
    allowed = own.allowed_with(given.get("model", ""), given.get("allow_code", ()))
    device = own_device(given.get("device"))
    network = load(folder / TRAINED, device=device, allow_code=allowed)
    places = {name: str(Path(place).resolve()) for name, place in (sources or {}).items()}
    others = {n: network_of(p, allow_code=allowed).to(device) for n, p in places.items()}
    outputs = num_classes_of(network)
    test = held_out_of(sets, samples_of(settings, outputs))
    data = {
        "source": absolute_source(given["data"]),
        "root": absolute(given.get("root")),
        "split": "test",
        "classes": list(test.classes),
    }
    shown_images.of_testing(given.get("label") or folder.name, given["data"], "test", len(test.y))
    with progress(given.get("label") or folder.name) as show:
        assessment = assess(
            network,
            test.x,
            test.y,
            settings,
            folder / EVALUATION,
            sources=others,
            name=kept_name(folder / EVALUATION, folder.name),
            data=data,
            examples=test.examples,
            class_names=test.classes,
            num_classes=outputs if len(test.classes) < (outputs or 0) else given.get("num_classes"),
            made={
                **made_by(),
                "target": str(folder.resolve()),
                **(
                    {"sources": {n: noted(p, folder / EVALUATION) for n, p in places.items()}}
                    if places
                    else {}
                ),
            },
            seed=seed,
            progress=show,
            remarks=(
                *remarks,
                *on_sets(sets, test.x, test.y),
            ),
        )
    add_page(folder / EVALUATION)
    return assessment
