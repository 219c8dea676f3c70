"""Accuracy at every ε at once, from the smallest distance at which each image is turned. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from pydantic import BaseModel, ConfigDict, Field

from surgeon.arguments import checked_number
from surgeon.numerals import percent
from surgeon.results.checked import Check
from surgeon.results.kinds import Norm
from surgeon.results.statistics import Share, wilson
from surgeon.results.threat import size_text
from surgeon.results.verdict import Outcome, Verdict

MULTIPLES = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Where a curve is told by default: at these multiples of the evaluation's ε."""
USUAL: Mapping[Norm, float] = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
LOOSE = 0.05
"""Share of the found perturbations above which too many can be made shorter by the same twentieth."""


class Step(BaseModel):
    """The number of images that stand from one distance up to the next."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eps: float
    k: int


class At(BaseModel):
    """Accuracy at one ε."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eps: float
    share: Share


class DistanceCurve(BaseModel):
    """Accuracy against ε under attacks that look for the smallest distance, exact at every ε.

    An image that is wrong as it is has distance 0; one that no attack turned has no distance, and stands at every ε.

    Examples:
        >>> from surgeon.evaluation import read_assessment
        >>> read_assessment("runs/kap/evaluation").smallest[0].at(1 / 255).value  # doctest: +SKIP
        0.61
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    norm: Norm
    attacks: tuple[str, ...] = Field(description="of which the smallest distance counts, image by image")
    n: int
    steps: tuple[Step, ...] = Field(description="by distance; from each on k images stand")
    points: tuple[At, ...] = Field(description="accuracy at the ε that were asked for")
    median: float | None = Field(
        description="distance of all images, in [0, 1] pixels; None where half of them stand at every ε"
    )
    unturned: int = Field(description="images that no attack turned at any distance")
    found: int = Field(description="perturbations found on images that are right as they are")
    loose: int = Field(description="of those, the ones that turn the image when they are 5 % shorter, too")

    def at(self, eps: float) -> Share:
        """Return the accuracy at an ε, with its interval.

        Args:
            eps: Size in [0, 1] pixels; an image whose distance is ε has fallen.

        Raises:
            ArgumentError: It is no number, negative or not finite.
        """
        eps = checked_number("eps", eps)
        standing = [step.k for step in self.steps if step.eps <= eps]
        return wilson(standing[-1] if standing else self.n, self.n)

    @property
    def name(self) -> str:
        """Its attacks and norm."""
        return f"{' and '.join(self.attacks)}, {self.norm}"

    @property
    def check(self) -> Check:
        """The diagnostic of local optimality: had the attack come to its end?"""
        share = self.loose / self.found if self.found else 0.0
        many = share > LOOSE
        return Check(
            code=f"local-optimality of {self.name}",
            measured={"shorter": share, "found": float(self.found)},
            plain=("found",),
            rule=f"never; advises where more than {percent(LOOSE)} of the perturbations can be 5 % shorter",
            failed=False,
            advice=f"{self.loose} of {self.found} perturbations turn their image when they are 5 % shorter, too: the "
            "distances are too large; give more steps"
            if many
            else "",
        )


def distance_curves(
    outcome: Outcome, asked: Sequence[float] = (), sizes: Mapping[Norm, float] | None = None
) -> tuple[DistanceCurve, ...]:
    """Make the curves of an outcome's attacks for the smallest distance.

    Args:
        outcome: The verdicts. Distances are those that the engine measured, and only of images that its own pass
            misclassifies.
        asked: ε at which accuracy is told; by default multiples of the norm's size.
        sizes: ε of the evaluation by norm.

    Returns:
        One curve an attack and norm; where a norm has several, then one of them all.

    Examples:
        >>> from surgeon.evaluation import Attack, Outcome, Verdict
        >>> from surgeon.results.distances import distance_curves
        >>> shared = dict(image="", label=0, clean=0, margin=1.0)
        >>> right = Verdict(example=0, attack="none", success=False, prediction=0, votes=1, **shared)
        >>> turned = Verdict(example=0, attack="fmn", l2=0.3, norm="l2", success=True, prediction=1, votes=0, **shared)
        >>> fmn = Attack(name="fmn", kind="fmn", norm="l2", steps=100)
        >>> (curve,) = distance_curves(Outcome((right, turned), (fmn,)), asked=(0.2, 0.3))
        >>> curve.median, [point.share.value for point in curve.points]
        (0.3, [1.0, 0.0])
    """
    clean = outcome.clean
    unbounded = [a for a in outcome.attacks if a.eps is None and a.source is None]
    curves = []
    for norm in dict.fromkeys(a.norm for a in unbounded):
        names = tuple(dict.fromkeys(a.name for a in unbounded if a.norm == norm))
        eps = asked or tuple(m * (sizes or USUAL).get(norm, USUAL[norm]) for m in MULTIPLES)
        for group in [(name,) for name in names] + ([names] if len(names) > 1 else []):
            rows = (
                v
                for v in outcome.verdicts
                if v.attack in group and v.norm == norm and v.eps is None and v.source is None and v.success
            )
            curves.append(_curve(norm, group, clean, rows, eps))
    return tuple(curves)


def _curve(
    norm: Norm,
    names: tuple[str, ...],
    clean: Sequence[Verdict],
    rows: Iterable[Verdict],
    eps: Sequence[float],
) -> DistanceCurve:
    best: dict[int, Verdict] = {}
    for v in rows:
        if v.example not in best or getattr(v, norm) < getattr(best[v.example], norm):
            best[v.example] = v
    far = [
        0.0 if v.success else float(getattr(best[v.example], norm)) if v.example in best else math.inf
        for v in clean
    ]
    ends = sorted({d for d in far if math.isfinite(d)})
    middle = median(far) if far else math.inf
    curve = DistanceCurve(
        norm=norm,
        attacks=names,
        n=len(clean),
        steps=tuple(Step(eps=d, k=sum(f > d for f in far)) for d in ends),
        points=(),
        median=middle if math.isfinite(middle) else None,
        unturned=sum(math.isinf(d) for d in far),
        found=len(best),
        loose=sum(v.loose for v in best.values()),
    )
    return curve.model_copy(update={"points": tuple(At(eps=e, share=curve.at(e)) for e in sorted(set(eps)))})


def curve_texts(curve: DistanceCurve) -> list[tuple[str, Share]]:
    """Return the rows that a table shows of a curve: size, and accuracy there.

    Args:
        curve: The curve.
    """
    return [(size_text(curve.norm, point.eps), point.share) for point in curve.points]
