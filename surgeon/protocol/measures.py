"""What a column says of a run: a share of the test images, which of them where that is known, a time or a number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from surgeon.errors import ArgumentError
from surgeon.protocol.column import CURVES, ON_LAYERS, Column
from surgeon.results.assessment import Assessment
from surgeon.results.statistics import Share, wilson
from surgeon.results.verdict import standing

BATCH = 64
"""Images in the batch of a column of=batch, and in that by which an evaluation takes the time."""


class Measured(BaseModel):
    """A share of the test images and which of them it counts, a time, or another number.

    Examples:
        >>> from surgeon.results.statistics import wilson
        >>> Measured(share=wilson(3, 4), right="1101").share.value
        0.75
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Share | None = Field(default=None, description="None for a time and another number")
    right: str = Field(
        default="",
        pattern="^[01]*$",
        description="1 for each image that is right, in the order of the test set; empty where only the share is known",
    )
    time: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="in the column's unit")
    value: float | None = Field(default=None, allow_inf_nan=False, description="another number than these")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(v is not None for v in (self.share, self.time, self.value)) != 1:
            raise ValueError("it has to be a share, a time or a number, and only one of these")
        counted = (self.right.count("1"), len(self.right))
        if self.right and (self.share is None or counted != (self.share.k, self.share.n)):
            raise ValueError("the images that are right do not add up to the share: a number was changed")
        return self


def measured(
    column: Column,
    assessment: Assessment,
    rows: Iterable[Mapping[str, Any]],
    *,
    row: str = "",
    certificates: Iterable[Mapping[str, Any]] = (),
    epoch: float | None = None,
    layers: Mapping[Column, float] | None = None,
) -> Measured | None:
    """Read a column off a run.

    Args:
        column: What is asked.
        assessment: The run's evaluation.
        rows: Its table of verdicts.
        row: The run's row, which has no figure under attacks from itself.
        certificates: The table of its certificates.
        epoch: Seconds that an epoch of the training took.
        layers: What was measured at layers of the trained network, by column.

    Returns:
        The share, the time or the number; None where the run has no such figure (a stock network has no `uncut`).

    Raises:
        ArgumentError: An attack, a level or a certificate is asked for that the evaluation did not make.

    Examples:
        >>> measured(Column(of="clean"), assessment, verdicts).share.value  # doctest: +SKIP
        0.952
    """
    if column.of in ON_LAYERS:
        return None if layers is None else Measured(value=layers[column])
    if column.of == "epoch":
        return None if epoch is None else Measured(time=epoch)
    if column.of == "batch":
        rate = assessment.subject.images_per_second
        return Measured(time=1000 * BATCH / rate) if rate else None
    if column.of in CURVES:
        return _point(column, assessment)
    if column.of == "noise":
        return _noisy(column, assessment)
    if column.of == "certified":
        return _certified(column, certificates)
    if column.of == "uncut":
        return (
            None
            if assessment.gain is None or assessment.gain.uncut is None
            else Measured(share=assessment.gain.uncut)
        )
    rows = list(rows)
    if column.of == "distance":
        return _median(column, rows)
    if column.of == "attack":
        return None if column.source == row and row else _counted(_alone(column, rows))
    main = assessment.summary.main
    if column.of == "itself":
        rows = [r for r in rows if r["source"] is None]
        if column.norm is not None or column.eps is not None:
            sizes = {
                (r["norm"], r["eps"]) for r in rows if main and r["group"] == main.group and _sized(column, r)
            }
            if main is None or len(sizes) != 1:
                raise _none("the evaluation's main attacks did not run at this size", rows)
            main = main._replace(norm=next(iter(sizes))[0], eps=next(iter(sizes))[1])
    clean, worst = standing(rows, main)
    return _counted(clean if column.of == "clean" else worst)


def _alone(column: Column, rows: list[Mapping[str, Any]]) -> dict[int, bool]:
    """Whether each image is right as it is and stands under one attack, of the first seed."""
    right = {r["example"]: not r["success"] for r in rows if r["attack"] == "none"}
    own = [
        {**r, "success": _turned(column, r)}
        for r in rows
        if (r["attack"], r["source"]) == (column.attack, column.source)
        and (_sized(column, r) or (r["eps"] is None and column.norm in (None, r["norm"])))
    ]
    if not own:
        where = "" if column.source is None else f" on {column.source}"
        raise _none(f"the evaluation ran no {column.attack} of that size{where}", rows)
    seed = min(r["seed"] for r in own)
    of_one: dict[str, list[dict[str, Any]]] = {}
    for r in own:
        if r["seed"] == seed:
            of_one.setdefault(r["group"], []).append(r)
    whole = {example for example, stands in right.items() if stands}
    own = next((rows for rows in of_one.values() if whole <= {r["example"] for r in rows}), [])
    if not own:
        raise ArgumentError(
            f"{column.attack} ran on what the attacks before it had left standing alone, so it has no figure of its own"
        )
    for row in own:
        right[row["example"]] = right[row["example"]] and not row["success"]
    return right


def _turned(column: Column, row: Mapping[str, Any]) -> bool:
    """Whether an attack turned an image, within the column's size where the attack looks for the smallest distance."""
    near = row["eps"] is not None or column.eps is None or row[row["norm"]] <= column.eps
    return bool(row["success"] and near)


def _median(column: Column, rows: list[Mapping[str, Any]]) -> Measured | None:
    """The median smallest distance; None where half of the images stand at every distance."""
    norm = column.norm or ""
    own = [
        r
        for r in rows
        if (r["attack"], r["source"], r["eps"], r["norm"]) == (column.attack, None, None, norm)
    ]
    if not own:
        raise ArgumentError(f"the evaluation ran no {column.attack} for the smallest distance in {norm}")
    seed = min(r["seed"] for r in own)
    far = {r["example"]: 0.0 if r["success"] else math.inf for r in rows if r["attack"] == "none"}
    for row in own:
        if row["seed"] == seed and row["success"] and far[row["example"]] > 0:
            far[row["example"]] = min(far[row["example"]], row[norm])
    middle = median(far.values())
    return Measured(value=middle) if math.isfinite(middle) else None


def _sized(column: Column, row: Mapping[str, Any]) -> bool:
    """Whether a verdict is of an attack of the column's norm and ε."""
    eps = row["eps"]
    near = column.eps is None or (eps is not None and abs(eps - column.eps) < 1e-9)
    return row["attack"] != "none" and near and column.norm in (None, row["norm"])


def _counted(right: Mapping[int, bool]) -> Measured:
    bits = "".join(str(int(right[example])) for example in sorted(right))
    return Measured(share=wilson(bits.count("1"), len(bits)), right=bits)


def _point(column: Column, assessment: Assessment) -> Measured:
    share = _only(
        point.share
        for curve in assessment.curves
        for point in curve.points
        if curve.kind == column.of and abs(point.level - (column.level or 0.0)) < 1e-9
    )
    if share is None:
        raise ArgumentError(f"the evaluation has no {column.of} noise or patches at {column.level}")
    return Measured(share=share)


def _noisy(column: Column, assessment: Assessment) -> Measured:
    wanted = (column.at in ("input", "both"), column.at in ("activations", "both"))
    share = _only(n.share for n in assessment.noise if (n.input_noise, n.activation_noise) == wanted)
    if share is None:
        raise ArgumentError("the evaluation put no noise on adversarial images: that needs keep: true")
    return Measured(share=share)


def _certified(column: Column, certificates: Iterable[Mapping[str, Any]]) -> Measured:
    """The images whose class is right and certified within the radius (Cohen et al. 2019)."""
    sigma, radius = column.sigma or 0.0, column.level or 0.0
    own = [c for c in certificates if abs(c["sigma"] - sigma) < 1e-9]
    if not own:
        raise ArgumentError(
            f"the evaluation has no certificates of σ = {sigma:g}: that needs certify: [{sigma:g}]"
        )
    return _counted({c["example"]: c["prediction"] == c["label"] and c["radius"] >= radius for c in own})


def _only(shares: Iterable[Share]) -> Share | None:
    return next(iter(shares), None)


def _none(what: str, rows: Iterable[Mapping[str, Any]]) -> ArgumentError:
    """An error that says what ran instead."""
    known = {
        (r["attack"], r["norm"], r["eps"]) for r in rows if r["attack"] != "none" and r["eps"] is not None
    }
    names = sorted(f"{attack} {norm} {eps:.3g}" for attack, norm, eps in known)
    return ArgumentError(f"{what}; it ran {', '.join(names)}")
