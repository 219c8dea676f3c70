"""`surgeon study`: compare a surgery with the same training without it, and with identity layers instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from surgeon.arguments import checked_count, checked_seed
from surgeon.data import absolute_source
from surgeon.disk.files import absolute, write_json
from surgeon.errors import RecipeError, either
from surgeon.host import in_own_state
from surgeon.models import own
from surgeon.ownership import check_apart, owned, taken
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline.contents import IMAGES, absolute_model
from surgeon.pipeline.demands import demand_chosen_from, demand_epochs, to_train_on
from surgeon.pipeline.lineage import lineage_of
from surgeon.pipeline.own_images import chosen
from surgeon.pipeline.rehearsing import rehearse
from surgeon.pipeline.running import evaluate_trained
from surgeon.pipeline.same_work import note_moved, whole_of
from surgeon.pipeline.training import TRAINED, part, train
from surgeon.processes import first, left_at_exit
from surgeon.reading import read_mapping
from surgeon.recipe import Data, Evaluation, Recipe, Training, load_recipe, with_parts
from surgeon.results.assessment import Assessment
from surgeon.results.study import ARMS, CONTROL, Study, below, tabulate
from surgeon.store.artifact import folder_of, load
from surgeon.store.folder import WEIGHTS
from surgeon.surgery import sites
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import uncut_network

SETTINGS, RESULT, BASE = "study.json", "table.json", "base"


@in_own_state(training=True)
def study(
    recipes: Sequence[Recipe],
    model: str,
    folder: str | Path,
    *,
    seeds: int = 1,
    evaluation: Evaluation | None = None,
    **given: Any,
) -> Study:
    """Train and evaluate five arms with one budget and the same seeds, to isolate the effect of a surgery.

    The arms are: the stock network; stock, fine-tuned; surgery without fine-tuning; surgery, fine-tuned; and
    a placebo, fine-tuned: identity layers at the surgery's sites.

    All start from one network: the given weights, or a stock network that is first trained by the recipe's
    training, into base/. All seeds share one split of the data, so that no arm is tested on images that the
    network was trained on. Differences are paired, image by image, against the stock network fine-tuned
    equally. Each arm is a run in its own folder, so that a study can be resumed at any moment.

    Args:
        recipes: their surgery, applied in order; training, data and evaluation are those of the last recipe
            that has them, else the defaults.
        model: the name of a network; no folder, whose weights are given as `weights`.
        folder: the study's folder.
        seeds: number of seeds, counted up from `seed` in `given`.
        evaluation: how to evaluate; by default the recipes', else the suite "quick".
        given: the further arguments of `surgeon.pipeline.train`.

    Returns:
        The table of all arms, which table.json holds too.

    Raises:
        RecipeError: no recipe has surgery, or the training has no epochs.
        SurgeonError: as for `surgeon.pipeline.run`.

    Examples:
        >>> from surgeon.pipeline import study
        >>> from surgeon.recipe import load_recipe
        >>> recipe = load_recipe({"surgery": [{"op": "kap"}], "training": {"epochs": 5}})
        >>> result = study([recipe], "zoo/lenet5", "studies/kap", seeds=3)  # doctest: +SKIP
        >>> [arm.name for arm in result.arms][:2]  # doctest: +SKIP
        ['stock', 'stock, fine-tuned']
    """
    from accelerate import PartialState

    folder = Path(folder)
    if not any(r.surgery for r in recipes):
        raise RecipeError("a study needs a recipe with surgery, to compare it with the same training without")
    if folder_of(model):
        named = either("weights=…", "--weights FILE")
        raise RecipeError(
            f"{model} is a folder, and the arms of a study are cut from a network by name: give the network's "
            f"name, and {named} for its weights"
        )
    training = part(recipes, "training", Training())
    demand_epochs(training)
    knows = bool(given.get("weights") or given.get("pretrained"))
    data, root = to_train_on(model, given.get("data"), given.get("root"), knows=knows)
    demand_chosen_from(data)
    given = {**given, "data": data, "root": root}
    check_apart(folder, [data])
    settings = evaluation or part(recipes, "evaluation", Evaluation(suite="quick"))
    model, given = absolute_model(model), {**given, **_absolute(given)}
    seeds, first_seed = checked_count("seeds", seeds), checked_seed(given.pop("seed", 0))
    checked_seed(first_seed + seeds - 1, "the last seed")
    split_seed = _split_seed(model, given, part(recipes, "data", Data()), first_seed)
    asked = {
        "recipes": [r.model_dump(mode="json") for r in recipes],
        "model": model,
        "seeds": seeds,
        "seed": first_seed,
        "evaluation": settings.model_dump(mode="json"),
        "given": {k: v for k, v in given.items() if k != "allow_code" and v not in (None, False, {})},
    }
    stock = Recipe(name="stock", surgery=(), training=training, data=part(recipes, "data", None))
    for arm in ([stock], recipes):  # before hours of the first arms
        rehearse(_with(arm, training), model, evaluation=settings, **given)
    with left_at_exit():
        PartialState()  # initialise first: `owned` must know the other processes
    with owned(folder), taken(folder, SETTINGS, asked, "a study", compared=whole_of):
        results = _arms(recipes, stock, model, folder, seeds, first_seed, split_seed, settings, given)
        before = read_mapping(folder / SETTINGS)
        if (
            before["given"] != asked["given"]
        ):  # every arm holds what it held: its images or weights were moved
            note_moved(folder, SETTINGS, {**before, "given": asked["given"]})
        name, numbers = "+".join(r.name for r in recipes), range(first_seed, first_seed + seeds)
        table = compared(folder, name, model, numbers, results)
        if first():
            write_json(folder / RESULT, table.model_dump(mode="json"))
    return table


def compared(
    folder: Path,
    recipe: str,
    model: str,
    seeds: Sequence[int],
    results: Mapping[str, Sequence[Assessment]],
) -> Study:
    """Make the table of all arms.

    Args:
        folder: the study's folder.
        recipe: the name of its recipes.
        model: its model.
        seeds: its seeds.
        results: arm → evaluation of each seed.
    """
    places = {name: [place_of(folder, name, seed) / EVALUATION for seed in seeds] for name in ARMS}
    return tabulate(recipe, model, seeds, results, places)


def place_of(folder: Path, arm: str, seed: int) -> Path:
    """The folder of an arm's run.

    Args:
        folder: the study's folder.
        arm: one of `ARMS`.
        seed: the seed.
    """
    return folder / below(arm, seed)


def _arms(
    recipes: Sequence[Recipe],
    stock: Recipe,
    model: str,
    folder: Path,
    seeds: int,
    first_seed: int,
    split_seed: int,
    settings: Evaluation,
    given: dict[str, Any],
) -> dict[str, list[Assessment]]:
    """Train and evaluate every arm: its results, by seed."""
    assert stock.training is not None
    training = stock.training
    start, contents = dict(given), dict[str, Any]()
    if not (given.get("weights") or given.get("pretrained")):
        head = "stock, trained first"
        base = train(
            [stock], model, folder / BASE, seed=first_seed, split_seed=split_seed, label=head, **given
        )
        # The arms start from its weights and must be trained on the same images.
        contents = {k: v for k, v in base.contents.items() if k in IMAGES}
        start["weights"] = str(folder / BASE / TRAINED / WEIGHTS)
    unmoved = training.model_copy(update={"epochs": 0})
    still = [stock.model_copy(update={"training": unmoved}), *_with(recipes, unmoved)]
    placebo: list[Recipe] = []
    results: dict[str, list[Assessment]] = {name: [] for name in ARMS}
    for seed in range(first_seed, first_seed + seeds):
        for name in ARMS:
            if name.startswith("placebo") and not placebo:
                cut = load(
                    place_of(folder, "surgery", first_seed) / TRAINED,
                    allow_code=own.allowed_with(model, given.get("allow_code", ())),
                )
                placebo = [_placebo(cut, stock)]
            plan = {
                "stock": still[:1],
                CONTROL: [stock],
                "surgery": still[1:],
                "surgery, fine-tuned": _with(recipes, training),
                "placebo, fine-tuned": placebo,
            }[name]
            place, label = place_of(folder, name, seed), f"{name}, seed {seed}"
            done = train(
                plan,
                model,
                place,
                seed=seed,
                split_seed=split_seed,
                contents=contents,
                untrained=name in ("stock", "surgery"),
                label=label,
                **start,
            )
            contents = done.contents
            arguments = {**start, "seed": seed, "model": model, "label": label}
            results[name].append(evaluate_trained(place, done.sets, settings, arguments, done.remarks))
    return results


def _split_seed(model: str, given: dict[str, Any], data: Data, first_seed: int) -> int:
    """The split's seed: that of the given weights' run, if trained on these images; else the first seed."""
    weights = given.get("weights")
    earlier = lineage_of(folder_of(model), weights)
    return chosen(
        earlier, str(weights or model), given["data"], given["root"], data_settings=data, seed=first_seed
    ).split_seed


def _absolute(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that name files, as absolute paths."""
    how = {"data": absolute_source, "root": absolute, "weights": absolute}
    return {k: how[k](v) for k, v in given.items() if k in how and v}


def _with(recipes: Sequence[Recipe], training: Training) -> list[Recipe]:
    """The recipes, with one training for all."""
    return [with_parts(r, training=training) for r in recipes]


def _placebo(cut: nn.Module, stock: Recipe) -> Recipe:
    """A recipe with an identity at every site where the surgery has an edit, except the input."""
    record = surgery_of(cut)
    named = {e.site for e in record.edits} if record else set()
    kinds: dict[str, list[str]] = {}
    for site in sites(uncut_network(cut), input_size=record.input_size if record else None):
        if site.name in named and site.kind != "input":
            kinds.setdefault(site.kind, []).append(site.name)
    surgery = [{"op": "identity", "at": kind, "select": {"include": names}} for kind, names in kinds.items()]
    made = load_recipe({"name": "placebo", "surgery": surgery})
    return made.model_copy(update={"training": stock.training, "data": stock.data})
