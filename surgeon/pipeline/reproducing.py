"""`surgeon reproduce`: the rows of a paper's table, each trained and evaluated with every seed, beside its figures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from surgeon.data import absolute_source
from surgeon.disk.files import absolute, json_text, read_parquet, write_json
from surgeon.errors import ArgumentError, ArtifactError
from surgeon.host import in_own_state
from surgeon.machine import made_by
from surgeon.ownership import check_apart, owned, taken
from surgeon.pipeline.running import EVALUATION, run
from surgeon.processes import first
from surgeon.protocol import (
    Protocol,
    Ran,
    Reproduction,
    Runs,
    check_budget,
    load_protocol,
    measured,
    tabulated,
)
from surgeon.reading import read_as
from surgeon.results.files import VERDICTS

SETTINGS, RUNS, WORK = "protocol.json", "runs.json", "work"


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
    told: Callable[[Reproduction], None] | None = None,
    **given: Any,
) -> Reproduction:
    """Run the rows of a paper's table and answer its claims.

    Each (row, seed) is a run of `surgeon.pipeline.run` in a folder of its own. The same call after a kill continues
    where it stopped, in the middle of a training too. What came of each run goes into one file (`results`), which is
    enough to make the table and to go on with the missing runs on another machine.

    Args:
        protocol: A name of `surgeon.protocol.protocol_names`, a file, or a Protocol.
        folder: Where the runs go.
        budget: A budget of the protocol.
        data: The images, where they are not at the place that the protocol names.
        root: The folder of a data set of timm's.
        results: The file of the runs; by default runs.json in the folder.
        rows: The rows to run now; the others stay as they are.
        seeds: How many seeds to run now, at most the budget's.
        told: Called with the table after every run.
        given: Further arguments of `surgeon.pipeline.train`, such as `device` and `workers`.

    Returns:
        The table of all runs so far.

    Raises:
        ArgumentError: The budget or a row is unknown, or more seeds are asked for than the budget has.
        ArtifactError: `results` holds runs of another protocol or with other settings.
        SurgeonError: As for `surgeon.pipeline.run`.

    Examples:
        >>> from surgeon.pipeline import reproduce
        >>> found = reproduce("kap/table1", "runs/kap", budget="smoke")  # doctest: +SKIP
        >>> found.claims[0].answer  # doctest: +SKIP
        'not decided at this budget'
    """
    known = protocol if isinstance(protocol, Protocol) else load_protocol(protocol)
    check_budget(known, budget)
    over, all_rows = known.budgets[budget], known.rows_of(budget)  # type: ignore[index]
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
    with owned(folder), taken(folder, SETTINGS, asked, "a reproduction"):
        done = read_runs(file, known, budget)
        for seed in range(seeds or over.seeds):
            for row in all_rows:
                if (rows is not None and row not in rows) or done.of(row, seed) is not None:
                    continue
                done = done.with_(_run(known, budget, row, seed, folder, source, {**given, "root": root}))
                if first():
                    write_json(file, done.model_dump(mode="json"))
                    if told is not None:
                        told(tabulated(known, budget, done.runs))
    return tabulated(known, budget, done.runs)


def read_runs(file: str | Path, protocol: Protocol, budget: str) -> Runs:
    """Read the file of the runs of a protocol.

    Args:
        file: The file; where there is none, there are no runs.
        protocol: The protocol.
        budget: The budget.

    Returns:
        The runs.

    Raises:
        ArtifactError: The file is damaged, of another protocol, or a run was made with other settings.
    """
    if not Path(file).is_file():
        return Runs(protocol=protocol.name, budget=budget)
    found = read_as(Path(file), Runs)
    if (found.protocol, found.budget) != (protocol.name, budget):
        raise ArtifactError(
            f"{file} has the runs of {found.protocol} at {found.budget}, not of {protocol.name} at {budget}"
        )
    rows = protocol.rows_of(budget)
    other = [r for r in found.runs if r.row in rows and r.settings != settings_of(protocol, budget, r.row)]
    if other:
        raise ArtifactError(
            f"{file}: {len(other)} runs ({other[0].row}, seed {other[0].seed}, …) were made with other settings than "
            f"{protocol.name} has now at {budget}; give another file for new ones"
        )
    return found


def settings_of(protocol: Protocol, budget: str, row: str) -> str:
    """Return the hash of what a row is made and tested with: recipes, network, images.

    Args:
        protocol: The protocol.
        budget: The budget.
        row: The row.
    """
    model, arguments = protocol.network_of(row, budget)
    recipes = [r.model_dump(mode="json", exclude_unset=True) for r in protocol.recipes_of(row, budget)]
    columns = {n: c.model_dump(mode="json") for n, c in protocol.columns_of(budget).items()}
    told = {"recipes": recipes, "model": model, "model_args": arguments, "columns": columns}
    return _hash(json_text(told))


def _run(
    known: Protocol, budget: str, row: str, seed: int, folder: Path, source: str, given: dict[str, Any]
) -> Ran:
    """Train and evaluate a row with one seed, in its own folder."""
    model, arguments = known.network_of(row, budget)
    kept = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in row)
    place, begun = folder / WORK / kept / str(seed), time.monotonic()
    found = run(
        known.recipes_of(row, budget),
        model,
        place,
        data=source,
        model_args=arguments,
        seed=seed,
        split_seed=0,
        label=f"{known.name}, {row}, seed {seed}",
        **given,
    )
    verdicts = read_parquet(place / EVALUATION / VERDICTS)
    images = {v["example"]: v["image"] for v in verdicts}
    labels = {v["example"]: v["label"] for v in verdicts}
    return Ran(
        row=row,
        seed=seed,
        settings=settings_of(known, budget, row),
        tested=_hash("".join(images[e] for e in sorted(images))),
        labelled=_hash(json_text([*found.data.get("classes", ()), *(labels[e] for e in sorted(labels))])),
        columns={n: measured(c, found, verdicts) for n, c in known.columns_of(budget).items()},
        reliable=found.reliable,
        headline=found.summary.headline is not None,
        seconds=round(time.monotonic() - begun, 1),
        made={k: v for k, v in made_by().items() if k != "command"},
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
