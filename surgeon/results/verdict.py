"""The verdict: the result of one attack on one image, as a row of a table."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, overload

from pydantic import BaseModel, ConfigDict, Field, model_validator

from surgeon.results.kinds import Norm
from surgeon.results.threat import Attack, Threat


class Verdict(BaseModel):
    """The result of one attack on one image. eps and distances are in [0, 1] pixels.

    An image counts as misclassified where at most half of the draws are right, whatever class an attack aimed at.

    Raises:
        ValidationError: success, prediction and votes contradict one another.

    Examples:
        >>> from surgeon.evaluation import Verdict
        >>> shared = dict(example=0, image="", label=0, clean=0, margin=1.0)
        >>> turned = Verdict(attack="pgd", eps=8 / 255, success=True, prediction=1, votes=0, **shared)
        >>> turned.norm, turned.success
        ('linf', True)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    example: int = Field(description="index into the images that were given")
    image: str = Field(description="hash of the image's pixels")
    label: int
    clean: int = Field(description="prediction on the image as it is")
    margin: float = Field(description="true logit minus the largest other, on the image as it is")
    attack: str = Field(description="'none' for the image as it is: one such row for every image")
    group: str = Field(default="", description="the part of the suite")
    source: str | None = Field(default=None, description="the model that was attacked in place of this one")
    norm: Norm = "linf"
    eps: float | None = None
    seed: int = 0
    block: int = 0
    success: bool = Field(description="whether the image is misclassified in the end")
    prediction: int = Field(description="of a random model, what most draws say")
    votes: float = Field(
        description="share of the draws that are right in the end; 0 or 1 for a model that is not random"
    )
    linf: float = 0.0
    l2: float = 0.0
    l1: float = 0.0
    loose: bool = Field(
        default=False,
        description="of an attack for the smallest distance: the image is turned by a shorter step too",
    )
    queries: float = Field(default=0.0, description="images sent through the model, the mean of the block")
    seconds: float = Field(default=0.0, description="the mean of the block")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        right = self.prediction == self.label
        if (
            self.success != (self.votes <= 0.5)
            or (self.votes > 0.5 and not right)
            or (self.votes == 0 and right)
        ):
            raise ValueError(
                f"the verdict of {self.attack!r} on image {self.example} contradicts itself: success={self.success}, "
                f"prediction={self.prediction}, label={self.label}, votes={self.votes:g}"
            )
        return self

    @property
    def threat(self) -> Threat:
        """The threat that the attack belongs to; as `Attack.threat`."""
        return Threat(self.group, self.norm, self.eps, self.seed)


def standing(
    rows: Iterable[Mapping[str, Any]], main: Threat | None, key: str = "example"
) -> tuple[dict[Any, bool], dict[Any, bool]]:
    """Find the images that are right without an attack, and those that also withstand the main threat.

    Args:
        rows: Rows of a table of verdicts.
        main: The main threat; None without attacks.
        key: The column that identifies images: `example`, or `image` for the hash of the pixels.

    Returns:
        (whether each image is right without an attack, whether it also withstands every attack of the main
        threat), by key.
    """
    clean: dict[Any, bool] = {}
    worst: dict[Any, bool] = {}
    for row in rows:
        if row["attack"] == "none":
            clean[row[key]] = not row["success"]
        elif main is None or not main.covers(Threat(row["group"], row["norm"], row["eps"], row["seed"])):
            continue
        turned = row["success"] and (main is None or row["attack"] == "none" or main.within(row))
        worst[row[key]] = worst.get(row[key], True) and not turned
    return clean, worst


COLUMNS = {
    "example": "int64",
    "image": "string",
    "label": "int64",
    "clean": "int64",
    "margin": "float64",
    "attack": "string",
    "group": "string",
    "source": "string",
    "norm": "string",
    "eps": "float64",
    "seed": "int64",
    "block": "int64",
    "success": "bool_",
    "prediction": "int64",
    "votes": "float64",
    "linf": "float64",
    "l2": "float64",
    "l1": "float64",
    "loose": "bool_",
    "queries": "float64",
    "seconds": "float64",
}
"""The columns of a table of verdicts, with their types in pyarrow."""


class Unheld(Sequence[Verdict]):
    """Verdicts that lie elsewhere and are read when they are needed: those of the clean images alone are held.

    Args:
        clean: The verdicts of the clean images.
    """

    def __init__(self, clean: tuple[Verdict, ...]) -> None:
        self.clean = clean

    @abstractmethod
    def attacked(self, attack: Attack | None = None) -> Iterator[Verdict]:
        """Read the verdicts of one attack, or of all in their order.

        Args:
            attack: The attack; None for all.
        """

    def __iter__(self) -> Iterator[Verdict]:
        yield from self.clean
        yield from self.attacked()

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | Sequence[Verdict]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))


def key_of(one: Attack | Verdict) -> tuple[str, str | None, Threat]:
    """Name, source and threat: what a verdict and its attack share.

    Args:
        one: An attack, or a verdict of it.
    """
    return one.name if isinstance(one, Attack) else one.attack, one.source, one.threat


@dataclass(frozen=True)
class Outcome:
    """All verdicts of an evaluation, its attacks in their order, and the blocks that are still missing.

    Iterating over it gives the verdicts. Those of an evaluation with a store stay in its folder, and are read from
    there each time, a block at a time.

    Args:
        verdicts: The verdicts, those of the clean images first.
        attacks: The attacks in their order.
        draws: Predictions per image; more than 1 for a random model.
        missing: Descriptions of the blocks that are not written yet.

    Examples:
        >>> from surgeon.evaluation import Attack, Outcome, Verdict
        >>> shared = dict(example=0, image="", label=0, clean=0, margin=1.0, eps=8 / 255)
        >>> turned = Verdict(attack="fgsm", success=True, prediction=1, votes=0, **shared)
        >>> outcome = Outcome((turned,), (Attack(name="fgsm", kind="own-pgd", eps=8 / 255),))
        >>> len(outcome), outcome.attacks[0].label, next(outcome.rows())["success"]
        (1, 'fgsm linf 8/255', True)
        >>> [verdict.prediction for verdict in outcome.of(outcome.attacks[0])]
        [1]
    """

    verdicts: Sequence[Verdict]
    attacks: tuple[Attack, ...]
    draws: int = 1
    missing: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.verdicts)

    def __len__(self) -> int:
        return len(self.verdicts)

    @property
    def clean(self) -> Sequence[Verdict]:
        """The verdicts of the clean images."""
        if isinstance(self.verdicts, Unheld):
            return self.verdicts.clean
        return [v for v in self.verdicts if v.attack == "none"]

    def of(self, attack: Attack) -> Iterator[Verdict]:
        """Return the verdicts of one attack.

        Args:
            attack: One of `attacks`.

        Returns:
            An iterator over them, in the order of the images.
        """
        if isinstance(self.verdicts, Unheld):
            return self.verdicts.attacked(attack)
        return iter(self._by_attack.get(key_of(attack), ()))

    @functools.cached_property
    def _by_attack(self) -> dict[tuple[str, str | None, Threat], list[Verdict]]:
        by_attack: dict[tuple[str, str | None, Threat], list[Verdict]] = {}
        for v in self.verdicts:
            by_attack.setdefault(key_of(v), []).append(v)
        return by_attack

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give the verdicts as plain dictionaries, one after the other.

        Returns:
            An iterator over them, with the keys of `COLUMNS`.
        """
        return (v.model_dump() for v in self.verdicts)
