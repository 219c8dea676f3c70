"""`surgeon reproduce list | show | run | page`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from surgeon.cli import options
from surgeon.cli.processes import processes

if TYPE_CHECKING:
    from surgeon.protocol import Reproduction

BUDGETS = ("paper", "small", "gpu", "smoke")


@click.group("reproduce")
def command() -> None:
    """Run the tables of the papers: their figures, those measured here, and whether their claims hold."""


def complete_protocol(context: click.Context, parameter: click.Parameter, start: str) -> list[str]:
    """The protocols whose name begins so."""
    from surgeon.protocol import protocol_names

    return [n for n in protocol_names() if n.startswith(start)]


@command.command("list")
@options.json_option
def list_protocols(as_json: bool) -> None:
    """The shipped protocols."""

    from surgeon.cli.sheet import Column, Sheet
    from surgeon.cli.tables import console
    from surgeon.protocol import load_protocol, protocol_names

    protocols = [load_protocol(n) for n in protocol_names()]
    if as_json:
        rows = [
            {"name": p.name, "title": p.title, "place": p.place, "budgets": list(p.budgets)}
            for p in protocols
        ]
        options.echo_json(rows)
        return
    table = Sheet("protocol", Column("what it shows", prose=True), Column("place", prose=True), "budgets")
    for p in protocols:
        table.add(p.name, p.title, p.place, ", ".join(p.budgets))
    console().print(table)


@command.command("show")
@click.argument("protocol", shell_complete=complete_protocol)
@click.option("--budget", type=click.Choice(BUDGETS), default="small", show_default=True)
@options.json_option
def show(protocol: str, budget: str, as_json: bool) -> None:
    """A protocol's rows, how each is trained, the paper's figures, and what is claimed."""
    from surgeon.cli.results import protocol_table
    from surgeon.cli.tables import console
    from surgeon.protocol import check_budget, load_protocol

    known = load_protocol(protocol)
    check_budget(known, budget)
    if as_json:
        click.echo(known.model_dump_json(indent=2, exclude_defaults=True))
    else:
        console().print(protocol_table(known, budget))


@command.command("run")
@click.argument("protocol", shell_complete=complete_protocol)
@click.option("--budget", type=click.Choice(BUDGETS), default="small", show_default=True)
@click.option("--data", metavar="SOURCE", help="The images; by default the data set that the protocol names.")
@click.option("--root", metavar="FOLDER", help="Where a data set of timm's lies.")
@click.option("--row", "rows", multiple=True, metavar="ROW", help="Run this row alone now; repeatable.")
@click.option("--seeds", type=click.IntRange(1), help="Run so many seeds now; by default the budget's.")
@click.option(
    "--results",
    type=click.Path(),
    metavar="FILE",
    help="File of the runs; by default runs.json in the folder.",
)
@click.option("-o", "--output", type=click.Path(), required=True, metavar="FOLDER", help="Where the runs go.")
@click.option("--device", default=None, help="Device, such as cpu or cuda; by default the best there is.")
@click.option(
    "--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that read images."
)
@options.json_option
def run(protocol: str, output: str, rows: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Train and evaluate the rows of PROTOCOL with every seed of the budget, and answer the paper's claims.

    The same command goes on where it stopped. FILE is enough to go on with the missing runs on another machine.
    """
    from surgeon.pipeline import reproduce

    with processes() as first:
        with options.json_alone(as_json):
            result = reproduce(protocol, output, rows=rows or None, tell=_told, **given)
        if first:
            _shown(result, as_json)


@command.command("page")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
def page(files: tuple[str, ...]) -> None:
    """Write the files of runs (runs.json) as one page in Markdown."""
    from pathlib import Path

    from surgeon.pipeline.runs_of_protocol import read_runs
    from surgeon.protocol import Runs, load_protocol, tabulated
    from surgeon.protocol.markdown import page as markdown
    from surgeon.reading import read_as

    for file in files:
        written = read_as(Path(file), Runs)
        known = load_protocol(written.protocol)
        result = tabulated(known, written.budget, read_runs(file, known, written.budget).runs)
        click.echo(markdown(result))
        _tell_unsealed(result)


def _told(sentence: str) -> None:
    """One line before each run, on stderr."""
    click.echo(sentence, err=True)


def _shown(result: Reproduction, as_json: bool) -> None:
    from surgeon.cli.results import reproduction_table
    from surgeon.cli.tables import console

    if as_json:
        click.echo(result.model_dump_json(indent=2))
    else:
        console().print(reproduction_table(result))
        _tell_unsealed(result)


def _tell_unsealed(result: Reproduction) -> None:
    from surgeon.protocol.markdown import unsealed

    if missing := unsealed(result.runs):
        click.echo(missing)
