"""Check accuracies on shifted sets: each follows from the decisions on its images."""

from __future__ import annotations

from pathlib import Path

from surgeon.disk.files import read_parquet
from surgeon.evaluation.beyond.published import table_name
from surgeon.evaluation.parts import SHIFTS
from surgeon.pipeline.chain.checking import Misfit, checked
from surgeon.pipeline.chain.comparing import demand_equal
from surgeon.results.assessment import Assessment
from surgeon.results.shifted import Shift, ShiftRow, counted_cues
from surgeon.results.statistics import wilson
from surgeon.verification import Check


def shift_checks(folder: Path, assessment: Assessment) -> list[Check]:
    """The checks of an evaluation's shifted sets; an empty list where no set was measured.

    Args:
        folder: the evaluation's folder.
        assessment: its results.
    """
    if not assessment.shifts:
        return []
    return [checked(SHIFTS, lambda: _counted(folder / SHIFTS, assessment))]


def _counted(folder: Path, assessment: Assessment) -> str:
    for number, shift in enumerate(assessment.shifts):
        own = folder / str(number)
        tables = sorted(p.name for p in own.glob("*.parquet"))
        wanted = [table_name(r.part, r.severity) for r in shift.rows] or [table_name(shift.name, None)]
        if tables != sorted(wanted):
            raise Misfit(f"{own} has {len(tables)} tables of parts, and {len(wanted)} parts were measured")
        again = shift.model_copy(update=_again(own, shift))
        demand_equal(
            shift.model_dump(mode="json"),
            again.model_dump(mode="json"),
            f"{shift.name}: the decisions give other counts",
        )
    names = ", ".join(s.name for s in assessment.shifts)
    return f"{names}, counted again from the decisions"


def _again(folder: Path, shift: Shift) -> dict[str, object]:
    """The figures that the tables of decisions give."""
    if shift.cues is not None:
        held = read_parquet(folder / table_name(shift.name, None))
        of = {key: [r[key] for r in held] for key in ("said", "label", "texture")}
        _check_contents(folder, shift, {r["contents"] for r in held})
        return {"cues": counted_cues(of["said"], of["label"], of["texture"]), "images": len(held)}
    rows = []
    for row in shift.rows:
        held = read_parquet(folder / table_name(row.part, row.severity))
        _check_contents(folder, shift, {r["contents"] for r in held})
        right = sum(r["said"] == r["label"] for r in held)
        rows.append(ShiftRow(part=row.part, severity=row.severity, share=wilson(right, len(held))))
    return {"rows": tuple(rows)}


def _check_contents(folder: Path, shift: Shift, contents: set[str]) -> None:
    if contents != {shift.contents}:
        raise Misfit(f"{folder} holds decisions on other images than those of {shift.name}")
