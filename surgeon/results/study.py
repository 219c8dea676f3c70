"""The table of a study, made of what its arms' evaluations found. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from surgeon import html
from surgeon.disk.files import each_of_parquet
from surgeon.numerals import percent
from surgeon.results.assessment import Assessment
from surgeon.results.differences import Difference, over_seeds
from surgeon.results.files import VERDICTS
from surgeon.results.statistics import mcnemar
from surgeon.results.verdict import standing

Role = Literal["base", "control", "cut", "surgery", "placebo"]
CONTROL = "stock, fine-tuned"
ROLES: dict[str, Role] = {
    "stock": "base",
    CONTROL: "control",
    "surgery": "cut",
    "surgery, fine-tuned": "surgery",
    "placebo, fine-tuned": "placebo",
}
"""Arm → its role: the common start, the control of all differences, the surgery before and after training."""
ARMS = tuple(ROLES)
_ROUNDING = 1e-9
"""How far a number may be from what another machine computes."""


class Arm(BaseModel):
    """One arm of a study. Accuracies are shares of the test images, one per seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Role
    seeds: tuple[int, ...]
    clean: tuple[float, ...]
    worst: tuple[float, ...]
    reliable: tuple[bool | None, ...]
    clean_difference: Difference | None = Field(default=None, description="None for the control itself")
    worst_difference: Difference | None = None


class Study(BaseModel):
    """A causal control: all arms and their comparison.

    Examples:
        >>> from surgeon.pipeline import study
        >>> result = study([recipe], "zoo/lenet5", "studies/kap", seeds=3)  # doctest: +SKIP
        >>> result.arms[0].name, result.arms[0].seeds  # doctest: +SKIP
        ('stock', (0, 1, 2))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    model: str
    arms: tuple[Arm, ...]
    folders: tuple[str, ...] = Field(description="of each arm's first evaluation, below the study's folder")

    @model_validator(mode="after")
    def _is_of_all_arms(self) -> Self:
        if tuple((a.name, a.role) for a in self.arms) != tuple(ROLES.items()):
            raise ValueError(f"a study has the arms {'; '.join(ARMS)}, each with its role")
        seeds = self.arms[0].seeds
        if not seeds or any(a.seeds != seeds for a in self.arms):
            raise ValueError("all arms of a study have the same seeds, one at least")
        if self.folders != tuple(str(below(name, seeds[0])) for name in ARMS):
            raise ValueError(f"the folders are not those of the arms and of seed {seeds[0]}")
        return self

    def _repr_html_(self) -> str:
        """The HTML shown in notebooks: mean accuracies of each arm over its seeds."""
        rows = [
            (a.name, percent(fmean(a.clean)), percent(fmean(a.worst)), ", ".join(map(str, a.seeds)))
            for a in self.arms
        ]
        return html.table(
            rows, head=("arm", "clean", "worst case", "seeds"), caption=f"{self.recipe} on {self.model}"
        )


def below(arm: str, seed: int) -> Path:
    """The place of an arm's run, below the study's folder.

    Args:
        arm: One of `ARMS`.
        seed: The seed.
    """
    return Path(arm.replace(", ", "-"), str(seed))


def tabulate(
    recipe: str,
    model: str,
    seeds: Sequence[int],
    results: Mapping[str, Sequence[Assessment]],
    places: Mapping[str, Sequence[Path]],
) -> Study:
    """Make the table of all arms.

    Args:
        recipe: The name of the study's recipes.
        model: The study's model.
        seeds: The seeds, in their order.
        results: Arm → the evaluation of each seed.
        places: Arm → the folder of each evaluation, for its verdicts.

    Returns:
        The table.

    Raises:
        ArtifactError: Verdicts cannot be read.
        ArgumentError: Two arms of a seed were tested on other numbers of images.
    """
    rights = {
        name: [_rights(p, r) for p, r in zip(places[name], results[name], strict=True)] for name in ARMS
    }
    return Study(
        recipe=recipe,
        model=model,
        arms=tuple(_arm(name, seeds, results[name], rights) for name in ARMS),
        folders=tuple(str(below(name, seeds[0])) for name in ARMS),
    )


_Rights = tuple[list[bool], list[bool]]
"""Correct on the clean image, and in the worst case, image by image."""


def _rights(place: Path, assessment: Assessment) -> _Rights:
    clean, worst = standing(each_of_parquet(place / VERDICTS), assessment.summary.main)
    return list(clean.values()), list(worst.values())


def _arm(
    name: str, seeds: Sequence[int], own: Sequence[Assessment], rights: Mapping[str, Sequence[_Rights]]
) -> Arm:
    differences: dict[str, Difference | None] = {"clean": None, "worst": None}
    if name != CONTROL:
        pairs = list(zip(rights[CONTROL], rights[name], strict=True))
        for k, what in enumerate(("clean", "worst")):
            differences[what] = over_seeds([mcnemar(a[k], b[k]) for a, b in pairs])
    return Arm(
        name=name,
        role=ROLES[name],
        seeds=tuple(seeds),
        clean=tuple(a.summary.clean.value for a in own),
        worst=tuple(a.summary.worst.value for a in own),
        reliable=tuple(a.reliable for a in own),
        clean_difference=differences["clean"],
        worst_difference=differences["worst"],
    )


def unlike(one: Study, other: Study) -> tuple[str, ...]:
    """The arms of which two tables of a study say different things, but for rounding.

    Args:
        one: A table.
        other: Another one.
    """
    pairs = zip(one.arms, other.arms, strict=True)
    return tuple(a.name for a, b in pairs if not _alike(a.model_dump(), b.model_dump()))


def _alike(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(v, other[k]) for k, v in one.items())
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    return bool(one == other)
