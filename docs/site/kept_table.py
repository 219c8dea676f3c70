"""The table of the methods' page: what each recipe keeps of a trained network, and what folds, as its plan says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from surgeon.edits import EFFECT_TEXT, Effect

MARK = "<!-- kept: the site has the table here -->"
HEAD = (
    "| recipe | what happens to a trained network at the cut | folds into a stock checkpoint |",
    "|---|---|---|",
)


def with_table(text: str) -> str:
    """The page with the table in the place of its mark."""
    return text.replace(MARK, "\n".join(table(answers()))) if MARK in text else text


def answers() -> dict[str, tuple[str, str]]:
    """What the plans of every shipped recipe say: name → effect, folding."""
    import surgeon
    from surgeon.recipe import load_recipe, shipped
    from surgeon.surgery import look

    model = surgeon.create_model("resnet18", num_classes=10)
    size = (3, 32, 32)
    seen = look(model, input_size=size)

    def plan(name: str, calibrated: bool) -> Any:
        return surgeon.plan(
            model, name, input_size=size, trained=True, calibrated=calibrated, seen=seen, seed=0
        )

    by_recipe = {}
    for name in shipped():
        if not load_recipe(name).surgery:
            by_recipe[name] = ("nothing is cut: training alone", "it is stock")
            continue
        without, images = plan(name, False), plan(name, True)
        by_recipe[name] = (effect(without.effect, images.effect), folding(images.edits))
    return by_recipe


def effect(without: Effect, images: Effect) -> str:
    """What is left of a trained network, without calibration images and with them."""
    said, otherwise = (EFFECT_TEXT[effect] for effect in (images, without))
    return said if said == otherwise else f"{said} with calibration images, else {otherwise}"


def folding(edits: Iterable[Any]) -> str:
    """Whether edits fold, and the reason that most of those that do not have."""
    every = list(edits)
    stuck = [edit for edit in every if not edit.folds]
    if not stuck:
        return "no, into plain layers of a changed architecture" if any(e.exchanges for e in every) else "yes"
    reason = Counter(edit.note for edit in stuck).most_common(1)[0][0]
    said = (
        "no"
        if len(stuck) == len(every)
        else f"{len(every) - len(stuck)} of {len(every)} edits; the others not"
    )
    return f"{said}: {reason}" if reason else said


def table(by_recipe: Mapping[str, tuple[str, str]]) -> list[str]:
    """The rows: recipes of which the same is said share one, where the first of them stands."""
    together: dict[tuple[str, str], list[str]] = {}
    for name, said in by_recipe.items():
        together.setdefault(said, []).append(name)
    rows = (
        f"| {', '.join(f'`{name}`' for name in names)} | {_cell(kept)} | {_cell(folds)} |"
        for (kept, folds), names in together.items()
    )
    return [*HEAD, *rows]


def _cell(text: str) -> str:
    """A text without what would end a cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")
