"""Check certificates: the table matches the images' own files, and the curves follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgeon.disk.files import read_parquet
from surgeon.evaluation.beyond.certification import PARTS, Certificate, certified_curves
from surgeon.evaluation.finished import CERTIFICATES
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked
from surgeon.pipeline.chain.comparing import demand_equal, difference
from surgeon.results.assessment import Assessment
from surgeon.verification import Check


def certificate_checks(folder: Path, assessment: Assessment) -> list[Check]:
    """The checks of an evaluation's certificates; an empty list where nothing was certified.

    Args:
        folder: the evaluation's folder.
        assessment: its results.
    """
    if not assessment.certified and not (folder / CERTIFICATES).is_file():
        return []
    return [
        checked(CERTIFICATES, lambda: _table(folder)),
        checked("certified", lambda: _curves(folder, assessment)),
    ]


def _table(folder: Path) -> str:
    rows = read_parquet(folder / CERTIFICATES)
    files = sorted(folder.glob(f"certification-*/{PARTS}/*.parquet"))
    if not files:
        raise Unknown(f"{len(rows)} certificates, and the images' own files are no longer there")
    made = [row for file in files for row in read_parquet(file)]
    if len(rows) != len(made):
        raise Misfit(f"has {len(rows)} certificates, and {len(made)} were made")
    for row, one in zip(sorted(rows, key=_place), sorted(made, key=_place), strict=True):
        if change := difference(row, one):
            raise Misfit(
                f"is not what was certified of image {row['example']} at σ = {row['sigma']:g}: {change}"
            )
    return f"{len(rows)} certificates, as they were made"


def _place(row: dict[str, Any]) -> tuple[float, int]:
    return row["sigma"], row["example"]


def _curves(folder: Path, assessment: Assessment) -> str:
    again = certified_curves([Certificate(**row) for row in read_parquet(folder / CERTIFICATES)])
    demand_equal(
        [c.model_dump(mode="json") for c in assessment.certified],
        [c.model_dump(mode="json") for c in again],
        "the certificates give another curve: certified",
    )
    return f"{len(again)} curves"
