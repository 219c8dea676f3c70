"""`surgeon report RUN… -o report.html`."""

from __future__ import annotations

import click


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), required=True, metavar="FILE", help="The page."
)
@click.option("--overwrite", is_flag=True, help="Replace the page if surgeon wrote it.")
def command(runs: tuple[str, ...], output: str, overwrite: bool) -> None:
    """One self-contained HTML page about evaluations, side by side: RUNS are folders that `surgeon evaluate`,
    `surgeon run`
    or `surgeon study` wrote."""
    from surgeon.report import report

    click.echo(report(runs, output, overwrite=overwrite))
