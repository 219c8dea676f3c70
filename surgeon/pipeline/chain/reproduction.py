"""Check a reproduction: each run in it, its figures as the runs' verdicts give them, and the table made of them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from surgeon.errors import RecipeError
from surgeon.ownership.pages import lacking
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline.chain.checking import Keep, Misfit, Unknown, checked, opened, unknown, within
from surgeon.pipeline.chain.comparing import demand_equal
from surgeon.pipeline.chain.origins import Reader, demand_source
from surgeon.pipeline.chain.run import run_checks
from surgeon.pipeline.measuring import columns_of_run, labelled_in, tested_in
from surgeon.pipeline.reproducing import RUNS, SETTINGS, TABLE, WORK, place_of
from surgeon.pipeline.runs_of_protocol import fault_of, settings_of
from surgeon.pipeline.training import SETTINGS as OF_RUN
from surgeon.protocol import Protocol, Ran, Runs, check_budget, load_protocol, tabulated
from surgeon.protocol.column import ON_LAYERS
from surgeon.protocol.markdown import page
from surgeon.reading import read_as, read_mapping
from surgeon.results.files import RESULT as EVALUATED
from surgeon.verification import Check


def reproduction_checks(folder: Path, reader: Reader) -> list[Check]:
    """The checks of a reproduction: each run that lies in it, and what is made of them.

    Args:
        folder: the reproduction's folder.
        reader: opens what the folder names.
    """
    checks, asked = opened(folder, "reproduction", SETTINGS, _settings)
    if asked is None:
        return checks
    for place in sorted(p.parent for p in (folder / WORK).glob(f"*/*/{OF_RUN}")):
        checks += within(place.relative_to(folder).as_posix(), run_checks(place, reader))
    if not (folder / RUNS).is_file():
        return [*checks, unknown(RUNS, "no run has ended here, or the file of the runs is kept elsewhere")]
    tables: list[Runs] = []
    checks.append(checked(RUNS, lambda: _runs(folder, asked, tables)))
    if not tables:
        return checks
    try:
        known = load_protocol(tables[0].protocol)
        check_budget(known, tables[0].budget)
    except RecipeError:
        return [
            *checks,
            unknown("protocol", f"{tables[0].protocol} is not a shipped protocol: it was given as a file"),
        ]
    for run in tables[0].runs:
        name = f"{RUNS}, {run.row}, seed {run.seed}"
        checks.append(checked(name, partial(_figures, folder, known, tables[0], run, reader)))
    checks.append(checked(TABLE, lambda: _table(folder, known, tables[0])))
    return checks


def _settings(folder: Path, keep: Keep) -> str:
    settings = read_mapping(folder / SETTINGS)
    said = f"{settings['protocol']} at {settings['budget']}"
    keep(settings)
    return said


def _runs(folder: Path, asked: dict[str, Any], tables: list[Runs]) -> str:
    listed = read_as(folder / RUNS, Runs)
    for key in ("protocol", "budget"):
        demand_equal(getattr(listed, key), asked[key], f"it has the runs of another {key}")
    tables.append(listed)
    return f"{len(listed.runs)} runs of {listed.protocol} at {listed.budget}"


def _figures(folder: Path, known: Protocol, runs: Runs, run: Ran, reader: Reader) -> str:
    """Check that a run's figures are those that its verdicts, and the layers of its network, give."""
    budget = runs.budget
    if wrong := fault_of(run, runs, known):
        raise Misfit(wrong)
    if run.settings != settings_of(known, budget, run.row):
        raise Misfit(f"it was made with other settings than {known.name} has at {budget} now")
    place = place_of(folder, run.row, run.seed)
    if not (place / EVALUATION / EVALUATED).is_file():
        raise Unknown("its folder is not here, or not evaluated: the figures are from elsewhere")
    if run.tested != tested_in(place):
        raise Misfit("it was tested on other images than the run in its folder")
    if run.labelled and run.labelled != labelled_in(place):
        raise Misfit("its test images had other labels than those of the run in its folder")
    columns = known.columns_of(budget)
    if any(c.of in ON_LAYERS for c in columns.values()):
        made = read_mapping(place / OF_RUN)
        demand_source(made["data"], made["root"])
    columns_there = columns_of_run(place, run.row, columns, allow_code=reader.allowed)
    for column in {**columns_there, **run.columns}:
        written, now = (c.get(column) for c in (run.columns, columns_there))
        own = column in columns and columns[column].of in ON_LAYERS
        if own and written and now and _close(written.value, now.value):
            continue
        demand_equal(
            written and written.model_dump(mode="json"),
            now and now.model_dump(mode="json"),
            f"{column}: the verdicts give another",
        )
    return "as its verdicts add up"


def _close(written: float | None, now: float | None) -> bool:
    """Whether two measurements at a layer differ by no more than another processor's rounding."""
    return written is not None and now is not None and math.isclose(written, now, rel_tol=1e-3, abs_tol=1e-4)


def _table(folder: Path, known: Protocol, table: Runs) -> str:
    file = folder / TABLE
    if not file.is_file():
        raise Unknown("not written yet; the same command goes on")
    there, ours = file.read_text(encoding="utf-8"), page(tabulated(known, table.budget, table.runs))
    if line := lacking(there, ours):
        raise Misfit(f"it is not what {RUNS} gives: it lacks, or has otherwise, {line}")
    return f"as {RUNS} gives it" + (
        "" if there == ours else ", with lines of somebody's, which are not checked"
    )
