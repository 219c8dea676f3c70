"""`surgeon study`: what a surgery itself brings, against the same training without it, and with layers that do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from surgeon import own
from surgeon.artifact import load
from surgeon.errors import RecipeError
from surgeon.evaluation.assessment import Assessment
from surgeon.evaluation.folder import read_assessment
from surgeon.evaluation.statistics import Paired, mcnemar
from surgeon.evaluation.verdict import standing
from surgeon.files import claim, read_parquet, write_json
from surgeon.folder import WEIGHTS
from surgeon.pipeline.running import EVALUATION, evaluate_trained
from surgeon.pipeline.training import TRAINED, part, train
from surgeon.processes import everyone, first
from surgeon.recipe import Evaluation, Recipe, Training, load_recipe
from surgeon.surgery import revert, sites
from surgeon.surgery.tree import surgery_of

SETTINGS, RESULT, BASE = "study.json", "table.json", "base"
CONTROL = "stock, fine-tuned"
ARMS = ("stock", CONTROL, "surgery", "surgery, fine-tuned", "placebo, fine-tuned")


class Difference(BaseModel):
    """An arm against the control on the same images: a mean over seeds, with its 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float
    high: float
    pairs: tuple[Paired, ...] = Field(
        description="by seed; of one seed the interval is its own, of several Student's over them, no narrower than one's"
    )


class Arm(BaseModel):
    """One arm of a study. Accuracies are shares of the test images, by seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seeds: tuple[int, ...]
    clean: tuple[float, ...]
    worst: tuple[float, ...]
    reliable: tuple[bool | None, ...]
    clean_difference: Difference | None = Field(None, description="None for the control itself")
    worst_difference: Difference | None = None


class Study(BaseModel):
    """A causal control: all arms, and what they were compared by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    model: str
    arms: tuple[Arm, ...]
    folders: tuple[str, ...] = Field(description="of each arm's first evaluation, below the study's folder")


def study(
    recipes: Sequence[Recipe],
    model: str,
    folder: str | Path,
    *,
    seeds: int = 1,
    evaluation: Evaluation | None = None,
    **given: Any,
) -> Study:
    """Five arms with one budget and the same seeds: stock; stock fine-tuned; surgery without fine-tuning; surgery
    fine-tuned; a placebo, identity layers at the surgery's sites, fine-tuned.

    All start from one network: the weights given, or a stock network trained first by the recipe's training, into base/.
    All seeds have one split of the data, so that no arm is tested on what the network was trained on.
    given: the further arguments of `surgeon.pipeline.train`. Each arm is a run in a folder of its own: the study can be
    resumed at any moment. Differences are paired, image by image, against the stock network fine-tuned equally.

    Raises RecipeError for recipes without surgery, and as `run`.
    """
    folder = Path(folder)
    if not any(r.surgery for r in recipes):
        raise RecipeError("a study needs a recipe with surgery, to compare it with the same training without")
    training = part(recipes, "training", Training())
    settings = evaluation or part(recipes, "evaluation", Evaluation(suite="quick"))
    first_seed = given.pop("seed", 0)
    asked = {
        "recipes": [r.model_dump(mode="json") for r in recipes], "model": model, "seeds": seeds, "seed": first_seed,
        "evaluation": settings.model_dump(mode="json"), "given": {k: v for k, v in given.items() if k != "allow_code" and v not in (None, False, {})},
    }  # fmt: skip
    claim(folder, SETTINGS, asked, "a study")
    stock = Recipe(name="stock", surgery=(), training=training, data=part(recipes, "data", None))
    start = dict(given)
    if not (given.get("weights") or given.get("pretrained")):
        train(
            [stock],
            model,
            folder / BASE,
            seed=first_seed,
            split_seed=first_seed,
            label="stock, trained first",
            **given,
        )
        start["weights"] = str(folder / BASE / TRAINED / WEIGHTS)
    if first():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SETTINGS, asked)
    everyone()
    unmoved = training.model_copy(update={"epochs": 0})
    still = [stock.model_copy(update={"training": unmoved}), *_with(recipes, unmoved)]
    placebo: list[Recipe] = []
    found: dict[str, list[Path]] = {name: [] for name in ARMS}
    results: dict[str, list[Assessment]] = {name: [] for name in ARMS}
    for seed in range(first_seed, first_seed + seeds):
        for name in ARMS:
            if name.startswith("placebo") and not placebo:
                cut = load(
                    found["surgery"][0] / TRAINED,
                    allow_code=own.allowed_with(model, given.get("allow_code", ())),
                )
                placebo = [_placebo(cut, stock)]
            plan = {
                "stock": still[:1], CONTROL: [stock], "surgery": still[1:], "surgery, fine-tuned": _with(recipes, training),
                "placebo, fine-tuned": placebo,
            }[name]  # fmt: skip
            place = folder / name.replace(", ", "-") / str(seed)
            label = f"{name}, seed {seed}"
            done = train(plan, model, place, seed=seed, split_seed=first_seed, label=label, **start)
            told = {**start, "seed": seed, "model": model, "label": label}
            results[name].append(evaluate_trained(place, done.sets, settings, told))
            found[name].append(place)
    arms = tuple(_arm(name, results, found, first_seed) for name in ARMS)
    table = Study(
        recipe="+".join(r.name for r in recipes), model=model, arms=arms,
        folders=tuple(str(found[n][0].relative_to(folder)) for n in ARMS),
    )  # fmt: skip
    if first():
        write_json(folder / RESULT, table.model_dump(mode="json"))
    return table


def _with(recipes: Sequence[Recipe], training: Training) -> list[Recipe]:
    """The recipes with one training for all."""
    return [r.model_copy(update={"training": training}) for r in recipes]


def _placebo(cut: Any, stock: Recipe) -> Recipe:
    """A recipe with an identity at every site where the surgery has an edit, but for the input."""
    record = surgery_of(cut)
    named = {e.site for e in record.edits} if record else set()
    kinds: dict[str, list[str]] = {}
    for site in sites(revert(cut), input_size=record.input_size if record else None):
        if site.name in named and site.kind in ("conv", "norm", "activation"):
            kinds.setdefault(site.kind, []).append(site.name)
    surgery = [{"op": "identity", "at": kind, "select": {"include": names}} for kind, names in kinds.items()]
    made = load_recipe({"name": "placebo", "surgery": surgery})
    return made.model_copy(update={"training": stock.training, "data": stock.data})


def _arm(
    name: str, results: dict[str, list[Assessment]], folders: dict[str, list[Path]], first_seed: int
) -> Arm:
    own = results[name]
    differences: dict[str, Difference | None] = {"clean": None, "worst": None}
    if name != CONTROL:
        pairs = [
            (_rights(control), _rights(place))
            for control, place in zip(folders[CONTROL], folders[name], strict=True)
        ]
        for k, what in enumerate(("clean", "worst")):
            differences[what] = _difference([mcnemar(a[k], b[k]) for a, b in pairs])
    return Arm(
        name=name, seeds=tuple(range(first_seed, first_seed + len(own))), clean=tuple(a.summary.clean.value for a in own),
        worst=tuple(a.summary.worst.value for a in own), reliable=tuple(a.reliable for a in own),
        clean_difference=differences["clean"], worst_difference=differences["worst"],
    )  # fmt: skip


def _rights(place: Path) -> tuple[list[bool], list[bool]]:
    """(right on the clean image, standing in the worst case), image by image in their order."""
    found = place / EVALUATION
    clean, worst = standing(read_parquet(found / "verdicts.parquet"), read_assessment(found).summary.main)
    return list(clean.values()), list(worst.values())


def _difference(pairs: Sequence[Paired]) -> Difference:
    values = [p.difference for p in pairs]
    if len(pairs) == 1:
        return Difference(mean=values[0], low=pairs[0].low, high=pairs[0].high, pairs=tuple(pairs))
    from scipy.stats import t

    mean, widest = fmean(values), max(p.high - p.low for p in pairs) / 2
    over_seeds = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    half = max(over_seeds, widest)  # the images are the same for all seeds: more seeds do not make them more
    return Difference(mean=mean, low=mean - half, high=mean + half, pairs=tuple(pairs))
