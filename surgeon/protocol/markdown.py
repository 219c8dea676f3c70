"""A reproduction as a page in Markdown: the table, the answers to the claims, and what it was run with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from surgeon.numerals import points
from surgeon.protocol.reproduction import Answered, Cell, Ran, Reproduction


def page(result: Reproduction) -> str:
    """Write a reproduction as Markdown.

    Args:
        result: The reproduction.

    Returns:
        The text, which ends with a newline.
    """
    protocol, budget = result.protocol, result.protocol.budgets[result.budget]
    head = f"## `{protocol.name}`: {protocol.title}"
    lines = [
        f"{protocol.paper}, {protocol.place}. Budget `{result.budget}`: {budget.note}".rstrip(": "),
        f"`surgeon reproduce run {protocol.name} --budget {result.budget} -o FOLDER`"
        + ("" if result.finished else f" ({state(result)})"),
    ]
    answers = [f"- **{a.answer}** — {a.claim.text}{measure(a)}" for a in result.claims]
    notes = [f"- {r}: {protocol.rows[r].note}" for r in result.rows if protocol.rows[r].note]
    parts = [head, *lines, "\n".join(table(result)), "\n".join(answers), "\n".join(notes), made(result.runs)]
    return "\n\n".join(p for p in parts if p) + "\n"


def table(result: Reproduction) -> list[str]:
    """Write the lines of the table: paper | measured for each column."""
    columns = list(result.protocol.columns_of(result.budget))
    lines = [
        "| row | "
        + " | ".join(f"{c}: paper | measured" for c in columns)
        + " | a number may be quoted | seeds |",
        "|" + "---|" * (2 * len(columns) + 3),
    ]
    for row, cells in result.rows.items():
        shown = [f"{figure(cells[c].paper)} | {value(cells[c])}" for c in columns]
        lines.append(f"| {row} | {' | '.join(shown)} | {quotable(result.of(row))} | {len(result.of(row))} |")
    return lines


def figure(given: float | None) -> str:
    """Write a figure of the paper."""
    return "–" if given is None else f"{given:g}"


def value(cell: Cell) -> str:
    """Write what was measured, as `12.3 ± 0.4`; numbers that are neither shares nor times to three digits."""
    if cell.mean is None:
        return "–"
    form = ".1f" if cell.unit else ".3g"
    return f"{cell.mean:{form}}" + ("" if cell.deviation is None else f" ± {cell.deviation:{form}}")


def quotable(runs: Sequence[Ran]) -> str:
    """Write how many runs have a headline."""
    return f"{sum(r.headline for r in runs)} of {len(runs)}" if runs else "–"


def measure(answered: Answered) -> str:
    """Write the difference that an answer rests on."""
    claim, difference = answered.claim, answered.difference
    what = f"; {claim.column}, {claim.row} less {claim.against}"
    if claim.than is not None:
        what = f"; {claim.row}, {claim.column} less "
        what += claim.than if claim.row == claim.against else f"{claim.against}, {claim.than}"
    if difference is None:
        return f"{what}: {'one seed has no interval' if answered.seeds else 'not measured'}"
    over = f" over {answered.seeds} seeds" if answered.seeds > 1 else ", one seed"
    least = f", asked for at least {claim.margin:g}" if claim.margin else ""
    if answered.unit != "%":
        return f"{what}: {difference.mean:+.3g} [{difference.low:+.3g}, {difference.high:+.3g}]{over}{least}"
    over += "" if difference.pairs else ", of the two shares"
    interval = f"[{points(difference.low)}, {points(difference.high)}]"
    return f"{what}: {points(difference.mean)} points {interval}{over}{least}"


def state(result: Reproduction) -> str:
    """Write how far a reproduction is."""
    return f"{len(result.runs)} of {result.wanted} runs are there"


def made(runs: Iterable[Ran]) -> str:
    """Write on which machines and versions the runs were made, and how long they took."""
    runs = list(runs)
    if not runs:
        return ""
    where = sorted({machine(r) for r in runs})
    hours = sum(r.seconds for r in runs) / 3600
    return f"Made with {'; '.join(where)}; {hours:.1f} hours in all."


def unsealed(runs: Iterable[Ran]) -> str:
    """Write how many runs carry no digest of their record, for a page that is made of the file alone.

    Args:
        runs: The runs.

    Returns:
        A paragraph; empty where all carry one.
    """
    runs = list(runs)
    without = sum(not r.digest for r in runs)
    if not without:
        return ""
    return f"{without} of {len(runs)} runs carry no digest of their record: whether a figure was changed is unknown.\n"


def machine(run: Ran) -> str:
    """Write the machine and the versions of a run."""
    versions = run.made.get("versions", {})
    gpus = ", ".join(run.made.get("gpus", ()))
    number = run.made.get("threads")
    threads = f"{number} thread{'' if number == 1 else 's'}"
    device = gpus or f"{run.made.get('processor') or run.made.get('machine')}, {threads}"
    return f"surgeon {versions.get('surgeon')}, torch {versions.get('torch')}, {device}"
