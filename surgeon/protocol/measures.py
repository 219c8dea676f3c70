"""What a column says of an evaluation: a share of the test images, and the images themselves where they are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from surgeon.errors import ArgumentError
from surgeon.protocol.protocol import Column
from surgeon.results.assessment import Assessment
from surgeon.results.statistics import Share, wilson
from surgeon.results.verdict import standing


class Measured(BaseModel):
    """A share of the test images, and which of them it counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Share
    right: str = Field(
        default="",
        pattern="^[01]*$",
        description="1 for each image that is right, in the order of the test set; empty where only the share is known",
    )


def measured(column: Column, found: Assessment, rows: Iterable[Mapping[str, Any]]) -> Measured | None:
    """Read a column off an evaluation.

    Args:
        column: what is asked.
        found: the evaluation.
        rows: its table of verdicts.

    Returns:
        The share; None where the evaluation has no such figure (a stock network has no `uncut`).

    Raises:
        ArgumentError: an attack or a level is asked for that the evaluation did not run.

    Examples:
        >>> measured(Column(of="clean"), assessment, verdicts).share.value  # doctest: +SKIP
        0.952
    """
    if column.of in ("gaussian", "uniform", "patches"):
        return _point(column, found)
    if column.of == "uncut":
        return None if found.gain is None or found.gain.uncut is None else Measured(share=found.gain.uncut)
    rows = list(rows)
    if column.of == "itself":
        rows = [r for r in rows if r["source"] is None]
    if column.of == "attack":
        return _counted(_alone(column, rows))
    clean, worst = standing(rows, found.summary.main)
    return _counted(clean if column.of == "clean" else worst)


def _alone(column: Column, rows: list[Mapping[str, Any]]) -> dict[int, bool]:
    """Whether each image is right as it is and stands under one attack."""
    right = {r["example"]: not r["success"] for r in rows if r["attack"] == "none"}
    own = [
        r
        for r in rows
        if r["attack"] == column.attack
        and r["source"] is None
        and column.norm in (None, r["norm"])
        and (column.eps is None or abs(r["eps"] - column.eps) < 1e-9)
    ]
    if not own:
        names = sorted({r["attack"] for r in rows} - {"none"})
        raise ArgumentError(f"the evaluation ran no {column.attack} of that size; it ran {', '.join(names)}")
    attacked = {r["example"] for r in own}
    if any(stands and example not in attacked for example, stands in right.items()):
        raise ArgumentError(
            f"{column.attack} ran on what the attacks before it had left standing alone, so it has no figure of its own"
        )
    for row in own:
        right[row["example"]] = right[row["example"]] and not row["success"]
    return right


def _counted(right: Mapping[int, bool]) -> Measured:
    bits = "".join(str(int(right[example])) for example in sorted(right))
    return Measured(share=wilson(bits.count("1"), len(bits)), right=bits)


def _point(column: Column, found: Assessment) -> Measured:
    for curve in found.curves:
        for point in curve.points:
            if curve.kind == column.of and abs(point.level - (column.level or 0.0)) < 1e-9:
                return Measured(share=point.share)
    raise ArgumentError(f"the evaluation has no {column.of} noise or patches at {column.level}")
