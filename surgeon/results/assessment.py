"""The result of a whole evaluation as data: evaluation.json, which the report reads. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from surgeon import html
from surgeon.edits import Growth, Plan
from surgeon.results.benchmark import dataset_of, lacks
from surgeon.results.checked import Check as Check
from surgeon.results.distances import DistanceCurve
from surgeon.results.flags import Flags
from surgeon.results.gain import Gain
from surgeon.results.kinds import Norm
from surgeon.results.shifted import Shift
from surgeon.results.statistics import Share
from surgeon.results.summary import Summary


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_ANSWERED = ("two-passes", "finite-differences", "silent-success", "transfer-failure")
"""Checks that fail on every random model; attacks on the expectation over its noise make up for them."""
_OF_NO_NORM = ("nothing-right", "two-passes", "few-images", "zero-gradients", "finite-differences")
"""Checks that no size of an attack has a part in: made once for all norms of a union."""
_IN = " in "
"""Stands between a check's code and its norm, where it is of a further norm of a union."""


class Diagnosis(_Frozen):
    """All diagnostics of one model for one norm and ε, or for each norm of a union.

    Examples:
        >>> from surgeon.evaluation import Check, Diagnosis
        >>> measured = {"code": "zero-gradients", "measured": {"ce": 0.4}, "rule": "> 1 %"}
        >>> check = Check(**measured, failed=True, reason="no gradient")
        >>> diagnosis = Diagnosis(norm="linf", eps=8 / 255, images=64, random=False, checks=(check,))
        >>> diagnosis.reliable, diagnosis.reasons
        (False, ('no gradient (zero-gradients)',))
        >>> other = Diagnosis(norm="l2", eps=0.5, images=64, random=False, checks=())
        >>> union = Diagnosis.of_union([diagnosis, other])
        >>> union.sizes[1], union.in_norm("linf", "zero-gradients").failed
        (('l2', 0.5), True)
    """

    norm: Norm
    eps: float
    images: int
    random: bool = Field(description="passes differ: attacks need the expectation over the noise (EOT)")
    checks: tuple[Check, ...]

    expectation: bool = Field(
        default=False,
        description="attacks were on the expectation over the noise, which answers that the model is random",
    )
    also: tuple[tuple[Norm, float], ...] = Field(
        default=(),
        description="the further norms of a union, with their ε; the codes of their checks name the norm",
    )

    @property
    def sizes(self) -> tuple[tuple[Norm, float], ...]:
        """(norm, ε) of each norm that it is of."""
        return ((self.norm, self.eps), *self.also)

    @property
    def reliable(self) -> bool:
        """Whether no check failed, except those that attacks on the expectation make up for."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of the failed checks, except those that attacks on the expectation make up for."""
        answered = _ANSWERED if self.random and self.expectation else ()
        return tuple(
            f"{c.reason} ({c.code})"
            for c in self.checks
            if c.failed and c.code.rsplit(_IN, 1)[0] not in answered
        )

    def in_norm(self, norm: str, code: str) -> Check | None:
        """Return the check of this code in this norm; None if it was not made.

        Args:
            norm: "linf", "l2" or "l1".
            code: The code, without a norm.

        Returns:
            The check, or None.
        """
        wanted = code if norm == self.norm else f"{code}{_IN}{norm}"
        return next((c for c in self.checks if c.code == wanted), None)

    @classmethod
    def of_union(cls, diagnoses: Sequence[Diagnosis]) -> Diagnosis:
        """Join the diagnoses of one model in the norms of a union.

        Args:
            diagnoses: One a norm. Checks that do not depend on the norm are those of the first.

        Returns:
            One that is reliable where each of them is.
        """
        first, *others = diagnoses
        more = [
            c.model_copy(update={"code": f"{c.code}{_IN}{d.norm}"})
            for d in others
            for c in d.checks
            if c.code not in _OF_NO_NORM
        ]
        return first.model_copy(
            update={
                "checks": (*first.checks, *more),
                "also": tuple((d.norm, d.eps) for d in others),
                "random": any(d.random for d in diagnoses),
            }
        )


class NoiseRow(_Frozen):
    """One row of the KAP paper's Table 2: accuracy on adversarial images with noise added at inference."""

    input_noise: bool
    activation_noise: bool
    sigma: float = Field(description="standard deviation, in [0, 1] pixels at the input")
    share: Share


class Point(_Frozen):
    """Accuracy at one level."""

    level: float
    share: Share


class Curve(_Frozen):
    """Accuracy against a level: σ of Gaussian noise, the bound of uniform noise, or patches per side."""

    kind: Literal["gaussian", "uniform", "patches"]
    points: tuple[Point, ...]


class Corruption(_Frozen):
    """Accuracy under one common corruption."""

    kind: str
    severity: int
    share: Share


class Certified(_Frozen):
    """The certified-accuracy curve of one σ."""

    sigma: float
    images: int
    draws: int
    abstained: float = Field(description="share of images without a certificate")
    points: tuple[Point, ...] = Field(description="level: L2 radius in [0, 1] pixels")


class Drawn(_Frozen):
    """A picture in the evaluation's folder."""

    file: str
    title: str
    caption: str
    alt: str
    hash: str = Field(default="", description="of the file")


class Subject(_Frozen):
    """Description of the network that was evaluated."""

    name: str
    model: str
    recipe: str = ""
    operations: tuple[str, ...] = ()
    weights: str = Field(description="hash")
    parameters: int
    classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_size: tuple[int, ...]
    folded: bool = Field(
        default=False, description="the network of plain layers that it folds into was attacked"
    )
    shipped: Growth | None = Field(
        default=None,
        description="what the attacked network has, for one image, where folding changed the architecture; else None",
    )
    fold_error: float | None = Field(
        default=None, description="relative difference of the logits, rewritten against folded"
    )
    random: bool = Field(default=False, description="at inference")
    mode: Literal["standard", "random"] = "standard"
    images_per_second: float | None = Field(
        default=None, description="inference on this machine, batches of 64, the median of several"
    )
    stock_images_per_second: float | None = Field(
        default=None,
        description="of the network before the surgery, likewise; None where the attacked one folded into its shapes",
    )
    speed_factor: tuple[float, float, float] | None = Field(
        default=None, description="speed relative to it: median, lowest and highest of alternating turns"
    )
    uncut_weights: str | None = Field(
        default=None, description="hash of the weights that a revert of the surgery gives"
    )


class Assessment(_Frozen):
    """The result of a whole evaluation, as `assess` writes and `read_assessment` reads it.

    Examples:
        >>> from surgeon.evaluation import read_assessment
        >>> assessment = read_assessment("runs/kap/evaluation")  # doctest: +SKIP
        >>> assessment.reliable, assessment.summary.worst.value  # doctest: +SKIP
        >>> assessment.clean_error_on(assessment.shifts[0])  # doctest: +SKIP
    """

    subject: Subject
    settings: dict[str, Any]
    data: dict[str, Any]
    made: dict[str, Any] = Field(default_factory=dict)
    summary: Summary
    gain: Gain | None = Field(
        default=None, description="of a cut network: what the surgery adds under the attacker who knows it"
    )
    diagnosis: Diagnosis | None = None
    flags: Flags | None = Field(default=None, description="AutoAttack's own, measured with the diagnostics")
    curves: tuple[Curve, ...] = ()
    corruptions: tuple[Corruption, ...] = ()
    shifts: tuple[Shift, ...] = ()
    noise: tuple[NoiseRow, ...] = ()
    certified: tuple[Certified, ...] = ()
    smallest: tuple[DistanceCurve, ...] = Field(
        default=(), description="of attacks for the smallest distance: accuracy at every ε"
    )
    pictures: tuple[Drawn, ...] = ()
    notes: tuple[str, ...] = ()
    plan: Plan | None = None

    def _repr_html_(self) -> str:
        """The HTML shown in notebooks: the name of the network, the summary and the notes."""
        recipe = f", {self.subject.recipe}" if self.subject.recipe else ""
        return (
            html.paragraphs([f"{self.subject.name}: {self.subject.model}{recipe}"])
            + (html.paragraphs([self.gain.text]) if self.gain else "")
            + self.summary._repr_html_()
            + html.paragraphs(self.notes)
        )

    def clean_error_on(self, shift: Shift) -> float | None:
        """Return the error on the clean images that a shifted set was made from; None where it is not known.

        Args:
            shift: What was measured on the set; of ImageNet-C alone there is a use for it.

        Returns:
            The share of clean images that are wrong, from 0 to 1, or None.
        """
        if shift.kind != "imagenet-c" or dataset_of(self.data) != "imagenet":
            return None
        return 1 - self.summary.clean.value

    @property
    def checks(self) -> tuple[Check, ...]:
        """The diagnostics, and the local optimality of each attack for the smallest distance.

        A curve of several attacks together has no row: each of them has its own.
        """
        made = self.diagnosis.checks if self.diagnosis else ()
        return (*made, *(one.check for one in self.smallest if len(one.attacks) == 1))

    @property
    def benchmark_lacks(self) -> tuple[str, ...]:
        """What is missing for an entry of RobustBench by AutoAttack; () for nothing."""
        return lacks(self)

    @property
    def reliable(self) -> bool | None:
        """Whether no diagnostic failed; None if they were not made."""
        return None if self.diagnosis is None else self.diagnosis.reliable
