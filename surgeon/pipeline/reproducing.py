"""`surgeon reproduce`: the rows of a paper's table, each trained and evaluated with every seed, beside its figures."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from surgeon.data import absolute_source
from surgeon.disk.files import absolute, write_json
from surgeon.errors import ArgumentError, SurgeonError
from surgeon.host import in_own_state
from surgeon.machine import made_by
from surgeon.ownership import check_apart, owned, taken
from surgeon.ownership.pages import keep, write_page
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline.evaluating import PAGE
from surgeon.pipeline.measuring import (
    check_untouched_figures,
    columns_of_run,
    labelled_in,
    recorded_seconds,
    tested_in,
)
from surgeon.pipeline.rehearsing import rehearse
from surgeon.pipeline.running import run
from surgeon.pipeline.runs_of_protocol import read_runs, settings_of
from surgeon.pipeline.same_work import note_moved, whole_of
from surgeon.pipeline.training import TRAINED, train
from surgeon.processes import first
from surgeon.protocol import (
    Protocol,
    Ran,
    Reproduction,
    check_budget,
    load_protocol,
    tabulated,
)
from surgeon.protocol.markdown import page
from surgeon.reading import read_mapping
from surgeon.report import report
from surgeon.report.origin import is_unchanged_page
from surgeon.results.files import RESULT

SETTINGS, RUNS, WORK, TABLE = "protocol.json", "runs.json", "work", "table.md"


@in_own_state(training=True)
def reproduce(
    protocol: str | Protocol,
    folder: str | Path,
    *,
    budget: str = "small",
    data: str | None = None,
    root: str | None = None,
    results: str | Path | None = None,
    rows: Sequence[str] | None = None,
    seeds: int | None = None,
    tell: Callable[[str], None] | None = None,
    **given: Any,
) -> Reproduction:
    """Run the rows of a paper's table and answer its claims.

    Each (row, seed) is a run of `surgeon.pipeline.run` in a folder of its own. The same call after a kill continues
    where it stopped, in the middle of a training too. What came of each run goes into one file (`results`), which is
    enough to make the table and to go on with the missing runs on another machine. The folder also gets the table
    (table.md) and, where jinja2 and matplotlib are installed, a page of the evaluations that lie in it, the first seed
    of each row (report.html).

    Args:
        protocol: A name of `surgeon.protocol.protocol_names`, a file, or a Protocol.
        folder: Where the runs go.
        budget: A budget of the protocol.
        data: The images, where they are not at the place that the protocol names.
        root: The folder of a data set of timm's.
        results: The file of the runs; by default runs.json in the folder.
        rows: The rows to run now; the others stay as they are.
        seeds: How many seeds to run now, at most the budget's.
        tell: Called with a sentence before every run: which it is, of how many.
        given: Further arguments of `surgeon.pipeline.train`, such as `device` and `workers`.

    Returns:
        The table of all runs so far.

    Raises:
        ArgumentError: The budget or a row is unknown, or more seeds are asked for than the budget has.
        ArtifactError: `results` holds runs of another protocol or with other settings, or says of a run whose
            evaluation lies in the folder what that does not.
        SurgeonError: As for `surgeon.pipeline.run`.

    Examples:
        >>> from surgeon.pipeline import reproduce
        >>> result = reproduce("kap/table1", "runs/kap", budget="smoke")  # doctest: +SKIP
        >>> result.claims[0].answer  # doctest: +SKIP
        'not decided at this budget'
    """
    known = protocol if isinstance(protocol, Protocol) else load_protocol(protocol)
    check_budget(known, budget)
    over, all_rows = known.budgets[budget], known.rows_of(budget)
    for row in rows or ():
        if row not in all_rows:
            raise ArgumentError(f"{known.name} has no row {row!r} at {budget}; it has {', '.join(all_rows)}")
    if seeds is not None and not 1 <= seeds <= over.seeds:
        raise ArgumentError(f"seeds={seeds}: the budget {budget} of {known.name} has 1 to {over.seeds}")
    source = absolute_source(data or over.data or known.data)
    folder = Path(folder)
    check_apart(folder, [source])
    asked = {"protocol": known.name, "budget": budget, "data": source, "root": absolute(root)}
    file = Path(results) if results is not None else folder / RUNS
    given = {
        "mixed_precision": over.mixed_precision,
        "input_size": over.input_size,
        **given,
        "root": root,
        "data": source,
    }
    wanted = _wanted(known, budget, rows, seeds or over.seeds)
    finished = read_runs(file, known, budget)
    _rehearse(known, budget, [w for w in wanted if finished.of(*w) is None], given)
    with owned(folder), taken(folder, SETTINGS, asked, "a reproduction", compared=whole_of):
        _go_on(known, budget, folder, asked, given)
        done = read_runs(file, known, budget)
        for ran in (r for r in done.runs if r.row in all_rows):
            place = place_of(folder, ran.row, ran.seed)
            check_untouched_figures(place, ran, known.columns_of(budget), file)
        before = page(tabulated(known, budget, done.runs))
        for number, (row, seed) in enumerate(wanted, 1):
            if done.of(row, seed) is not None:
                continue
            if first() and tell is not None:
                tell(f"{known.name} at {budget}: run {number} of {len(wanted)}, {row}, seed {seed}")
            done = done.with_(_run(known, budget, row, seed, folder, given, f"{number} of {len(wanted)}"))
            if first():
                write_json(file, done.model_dump(mode="json"))
        table = tabulated(known, budget, done.runs)
        if first():
            write_page(folder, TABLE, page(table), before=before)
            _add_page(folder, all_rows)
    return table


def _go_on(known: Protocol, budget: str, folder: Path, asked: dict[str, Any], given: dict[str, Any]) -> None:
    """Where the images lie elsewhere than the reproduction says, ask every run in it whether they are the same."""
    before = read_mapping(folder / SETTINGS)
    if before == asked:
        return
    for row in known.rows_of(budget):
        for seed in range(known.budgets[budget].seeds):
            if (place_of(folder, row, seed) / TRAINED).is_dir():  # nothing is trained
                train(**_how(known, budget, row, seed, place_of(folder, row, seed), given, "its images"))
    note_moved(folder, SETTINGS, {**before, **asked})


def _wanted(known: Protocol, budget: str, rows: Sequence[str] | None, seeds: int) -> list[tuple[str, int]]:
    """The runs in their order: seed by seed, and rows that others are attacked from before these."""
    every = known.rows_of(budget)
    named = {source for row in every for source in known.sources_of(row, budget)}
    order = sorted(every, key=lambda row: row not in named)
    return [(row, seed) for seed in range(seeds) for row in order if rows is None or row in rows]


def _rehearse(
    known: Protocol, budget: str, missing: Sequence[tuple[str, int]], given: dict[str, Any]
) -> None:
    """Find out, before the first run, which of the rows that are missing and of those they are attacked from would be
    refused after the others were trained."""
    rows = dict.fromkeys(r for row, _ in missing for r in (row, *known.sources_of(row, budget)))
    for row in rows:
        model, arguments = known.network_of(row, budget)
        try:
            rehearse(known.recipes_of(row, budget), model, **{"model_args": arguments, **given})
        except SurgeonError as error:
            error.at(f"{known.name}: row {row!r} at the budget {budget}")
            raise


def place_of(folder: Path, row: str, seed: int) -> Path:
    """Return the folder of a run in a reproduction's.

    Args:
        folder: The reproduction's folder.
        row: The row.
        seed: The seed.
    """
    kept = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in row)
    return folder / WORK / kept / str(seed)


def _add_page(folder: Path, rows: Sequence[str]) -> None:
    """Write the page of the evaluations that lie in the folder, the first seed of each row."""
    if not all(importlib.util.find_spec(m) for m in ("jinja2", "matplotlib")):
        return
    seeds = {
        row: sorted((folder / WORK).glob(f"{place_of(folder, row, 0).parent.name}/*/{EVALUATION}/{RESULT}"))
        for row in rows
    }
    folders = [files[0].parent for files in seeds.values() if files]
    if folders and (folder / PAGE).exists() and not is_unchanged_page(folder / PAGE):
        keep(folder / PAGE)
    elif folders:
        report(folders, folder / PAGE, overwrite=True)


def _run(
    known: Protocol, budget: str, row: str, seed: int, folder: Path, given: dict[str, Any], number: str
) -> Ran:
    """Train and evaluate a row with one seed, in its own folder."""
    place, begun = place_of(folder, row, seed), time.monotonic()
    sources = {s: place_of(folder, s, seed) for s in known.sources_of(row, budget)}
    for source, where in sources.items():
        if not (where / TRAINED).is_dir():  # its figures may be from another machine
            train(**_how(known, budget, source, seed, where, given, f"{number}, to attack others from"))
    assessment = run(**_how(known, budget, row, seed, place, given, number), sources=sources)
    return Ran(
        row=row,
        seed=seed,
        settings=settings_of(known, budget, row),
        tested=tested_in(place),
        labelled=labelled_in(place),
        columns=columns_of_run(
            place, row, known.columns_of(budget), allow_code=tuple(given.get("allow_code", ()))
        ),
        reliable=assessment.reliable,
        headline=assessment.summary.headline is not None,
        # Of a run that other processes began, what they recorded counts too.
        seconds=round(max(time.monotonic() - begun, recorded_seconds(place)), 1),
        made={k: v for k, v in made_by().items() if k != "command"},
    )


def _how(
    known: Protocol, budget: str, row: str, seed: int, place: Path, given: dict[str, Any], number: str
) -> dict[str, Any]:
    """The arguments by which a row is trained."""
    model, arguments = known.network_of(row, budget)
    return {
        "recipes": known.recipes_of(row, budget),
        "model": model,
        "folder": place,
        "model_args": arguments,
        "seed": seed,
        "split_seed": 0,
        "label": f"{known.name}, {number}: {row}, seed {seed}",
        **given,
    }
