"""The file of a protocol's runs (runs.json): read, and checked by the protocol and by each run's own digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgeon.disk.files import json_text
from surgeon.errors import ArtifactError
from surgeon.pipeline.measuring import hash_of
from surgeon.protocol import Protocol, Ran, Runs, check_budget
from surgeon.reading import read_as
from surgeon.recipe import load_recipe
from surgeon.strict import shown


def read_runs(file: str | Path, protocol: Protocol, budget: str) -> Runs:
    """Read the file of the runs of a protocol.

    Args:
        file: The file; where it is missing, there are no runs.
        protocol: The protocol.
        budget: The budget.

    Returns:
        The runs.

    Raises:
        ArtifactError: The file is damaged, of another protocol, or a run was made with other settings; a run is of
            a row or a seed that the budget has not, is there twice, lacks a column or has one more, or does not
            have the digest that was made of it.
        ArgumentError: The protocol has no such budget.
    """
    check_budget(protocol, budget)
    if not Path(file).is_file():
        return Runs(protocol=protocol.name, budget=budget)
    listed = read_as(Path(file), Runs)
    if (listed.protocol, listed.budget) != (protocol.name, budget):
        raise ArtifactError(
            f"{file} has the runs of {listed.protocol} at {listed.budget}, not of {protocol.name} at {budget}"
        )
    rows = protocol.rows_of(budget)
    other = [r for r in listed.runs if r.row in rows and r.settings != settings_of(protocol, budget, r.row)]
    if other:
        raise ArtifactError(
            f"{file}: {len(other)} runs ({other[0].row}, seed {other[0].seed}, …) were made with other settings than "
            f"{protocol.name} has now at {budget}; choose another folder, and another file of runs"
        )
    for run in listed.runs:
        if wrong := fault_of(run, listed, protocol):
            raise ArtifactError(
                f"{file}: {shown(run.row)}, seed {run.seed}: {wrong}; put back what was changed, or take "
                "this run out of the file"
            )
    return listed


def fault_of(run: Ran, runs: Runs, protocol: Protocol) -> str:
    """What a run in a file of runs cannot be; empty where nothing is.

    Args:
        run: The run.
        runs: All of the file.
        protocol: Their protocol, which has the file's budget.
    """
    budget = runs.budget
    rows, seeds, columns = (
        protocol.rows_of(budget),
        protocol.budgets[budget].seeds,
        protocol.columns_of(budget),
    )
    if run.row not in rows:
        return f"{protocol.name} has no such row at {budget}, but {', '.join(rows)}"
    if not 0 <= run.seed < seeds:
        return f"{protocol.name} has no such seed at {budget}, but 0 to {seeds - 1}"
    if sum((r.row, r.seed) == (run.row, run.seed) for r in runs.runs) > 1:
        return "there are two runs of this row and seed"
    if missing := [c for c in columns if c not in run.columns]:
        return f"the column {missing[0]} is missing"
    if more := [c for c in run.columns if c not in columns]:
        return f"there is a column {shown(more[0])}; {protocol.name} has {', '.join(columns)} at {budget}"
    if run.digest and run != runs.sealed(run):
        return "the record is not the one that its digest was made of"
    return ""


def settings_of(protocol: Protocol, budget: str, row: str) -> str:
    """Return the hash of what a row is made and tested with: recipes, network, images.

    Args:
        protocol: The protocol.
        budget: The budget.
        row: The row.
    """
    model, arguments = protocol.network_of(row, budget)
    recipes = _written(protocol, budget, row)
    columns = {n: c.identity for n, c in protocol.columns_of(budget).items()}
    settings = {"recipes": recipes, "model": model, "model_args": arguments, "columns": columns}
    # Only where they are set: runs that were made before these settings were there keep their hash.
    if sources := protocol.sources_of(row, budget):
        settings["sources"] = {s: _network(protocol, budget, s) for s in sources}
    over = protocol.budgets[budget]
    settings |= over.model_dump(mode="json", include={"mixed_precision", "input_size"}, exclude_defaults=True)
    return hash_of(json_text(settings))


def _network(protocol: Protocol, budget: str, row: str) -> list[Any]:
    """What a row's network is made with."""
    recipes = [{k: v for k, v in r.items() if k != "evaluation"} for r in _written(protocol, budget, row)]
    return [recipes, *protocol.network_of(row, budget)]


def _written(protocol: Protocol, budget: str, row: str) -> list[dict[str, Any]]:
    """The recipes of a row as plain data, with title and source as they were written: hashes are of these, and not of
    what a recipe says of changed settings."""
    rows = []
    for named, recipe in zip(protocol.named_by(row, budget), protocol.recipes_of(row, budget), strict=True):
        plain: dict[str, Any] = recipe.model_dump(mode="json", exclude_unset=True)
        stated: dict[str, Any] = {} if isinstance(named, str) else named
        own = load_recipe(stated.get("extends", named))
        words = {k: stated.get(k, getattr(own, k)) for k in ("title", "source") if k in plain}
        rows.append(plain | words)
    return rows
