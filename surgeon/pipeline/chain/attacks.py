"""Check an evaluation's attacks: its verdicts are those of its blocks, and give its summary."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surgeon.disk.files import read_parquet
from surgeon.evaluation.adaptive.knowing import ADAPTIVE, BEFORE, PILOT
from surgeon.evaluation.asked import summed_up
from surgeon.evaluation.engine.store import MANIFEST, read_outcome
from surgeon.evaluation.parts import ATTACKS
from surgeon.evaluation.suites import asked_for, sizes_of
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked
from surgeon.pipeline.chain.comparing import demand_equal, difference
from surgeon.reading import read_mapping
from surgeon.recipe import Evaluation
from surgeon.results.assessment import Assessment
from surgeon.results.counts import DRAWS
from surgeon.results.distances import distance_curves
from surgeon.results.files import VERDICTS, VERDICTS_AS_TEXT
from surgeon.results.gain import gained, strongest
from surgeon.results.verdict import COLUMNS, Outcome, Verdict
from surgeon.verification import Check

TABLE, TEXT = VERDICTS, VERDICTS_AS_TEXT


def attack_checks(folder: Path, assessment: Assessment) -> list[Check]:
    """The checks of an evaluation's attacks, their verdicts, and the numbers computed from them.

    Args:
        folder: the evaluation's folder.
        assessment: its results.
    """
    return [
        checked("attacks", lambda: _attacks(folder, assessment)),
        checked(TABLE, lambda: _verdicts(folder)),
        checked(TEXT, lambda: _text(folder)),
        checked("summary", lambda: _summary(folder, assessment)),
        *([checked("distances", lambda: _distances(folder, assessment))] if assessment.smallest else []),
        *([checked("gain", lambda: _gain(folder, assessment))] if assessment.gain else []),
    ]


def _attacks(folder: Path, assessment: Assessment) -> str:
    if not (folder / ATTACKS / MANIFEST).is_file():
        raise Unknown(f"{ATTACKS}/, where each block of verdicts was written first, is no longer there")
    known, wanted = read_mapping(folder / ATTACKS / MANIFEST), asked_for(assessment)
    demand_equal(
        known["attacks"],
        [a.model_dump(mode="json") for a in wanted],
        f"{MANIFEST} has other attacks than the settings: attacks",
    )
    demand_equal(known["images"], assessment.data["images"], f"{MANIFEST} is of other images: hash")
    return ", ".join(dict.fromkeys(a.label for a in wanted))


def _verdicts(folder: Path) -> str:
    """Check that the table has the rows of the blocks."""
    rows = read_parquet(folder / TABLE)
    if not (folder / ATTACKS).is_dir():
        raise Unknown(f"{len(rows)} verdicts, and {ATTACKS}/ is no longer there")
    outcome = read_outcome(folder / ATTACKS)
    if outcome.missing:
        raise Misfit(f"blocks are missing in {ATTACKS}/: {outcome.missing[0]}")
    blocks = sorted(outcome.rows(), key=_place)
    rows = sorted(rows, key=_place)
    if len(rows) != len(blocks):
        raise Misfit(f"has {len(rows)} verdicts, and the blocks in {ATTACKS}/ have {len(blocks)}")
    for row, block in zip(rows, blocks, strict=True):
        if change := difference(row, block):
            raise Misfit(
                f"is not what the blocks in {ATTACKS}/ say of {row['attack']} on image {row['example']}: {change}"
            )
    return f"{len(rows)} verdicts, those of the blocks"


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(row[k]) for k in ("attack", "group", "source", "norm", "eps", "seed", "example"))


def _text(folder: Path) -> str:
    """Check that the table in text form has the same rows."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([r[c] for c in COLUMNS] for r in read_parquet(folder / TABLE))
    if (folder / TEXT).read_bytes().decode("utf-8") != text.getvalue():
        raise Misfit(f"other rows than {TABLE}")
    return f"the rows of {TABLE}"


def _summary(folder: Path, assessment: Assessment) -> str:
    rows: Sequence[Verdict] = [Verdict(**r) for r in read_parquet(folder / TABLE)]
    outcome = Outcome(tuple(rows), asked_for(assessment), DRAWS if assessment.subject.mode == "random" else 1)
    settings = Evaluation.model_validate(assessment.settings["evaluation"])
    classes = min(
        assessment.subject.classes, len(assessment.data.get("classes") or ()) or assessment.subject.classes
    )
    again = summed_up(
        outcome,
        settings,
        assessment.plan,
        assessment.diagnosis,
        random=assessment.subject.random,
        classes=classes,
    )
    demand_equal(
        assessment.summary.model_dump(mode="json"),
        again.model_dump(mode="json"),
        "the verdicts add up to something else: summary",
    )
    clean, worst = again.clean, again.worst
    return f"clean {clean.k} of {clean.n}, worst case {worst.k} of {worst.n}, as the verdicts add up"


def _distances(folder: Path, assessment: Assessment) -> str:
    """Check the curves of the attacks for the smallest distance, by the distances in the table."""
    settings = Evaluation.model_validate(assessment.settings["evaluation"])
    rows = tuple(Verdict(**r) for r in read_parquet(folder / TABLE))
    again = distance_curves(
        Outcome(rows, asked_for(assessment)), settings.curve_eps, dict(sizes_of(settings))
    )
    demand_equal(
        [c.model_dump(mode="json") for c in assessment.smallest],
        [c.model_dump(mode="json") for c in again],
        "the verdicts add up to something else: smallest",
    )
    return ", ".join(c.name for c in again)


def _gain(folder: Path, assessment: Assessment) -> str:
    """Check what the surgery adds, by the verdicts on the network before it and on the record's sources."""
    gain = assessment.gain
    assert gain is not None
    there = [folder / ADAPTIVE / name for name in (BEFORE, PILOT)]
    needed = [gain.uncut is not None, bool(gain.tried)]
    if any(wanted and not place.is_dir() for place, wanted in zip(there, needed, strict=True)):
        raise Unknown(f"{ADAPTIVE}/, where its verdicts were written first, is no longer there")
    uncut, pilot = (read_outcome(p) if wanted else None for p, wanted in zip(there, needed, strict=True))
    for outcome in (uncut, pilot):
        if outcome is not None and outcome.missing:
            raise Misfit(f"blocks are missing in {ADAPTIVE}/: {outcome.missing[0]}")
    tried = strongest(pilot, dict.fromkeys(str(a.source) for a in pilot.attacks)) if pilot else ()
    rows = tuple(Verdict(**r) for r in read_parquet(folder / TABLE))
    again = gained(Outcome(rows, asked_for(assessment)), uncut, assessment.summary.main, tried)
    demand_equal(
        gain.model_dump(mode="json"),
        again.model_dump(mode="json"),
        "the verdicts add up to something else: gain",
    )
    return gain.text
