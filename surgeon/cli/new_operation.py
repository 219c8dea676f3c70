"""`surgeon new-operation NAME`."""

from __future__ import annotations

import click


@click.command("new-operation")
@click.argument("name")
@click.option(
    "-o",
    "--output",
    help="The folder to write. [default: the name]",
    metavar="FOLDER",
)
def command(name: str, output: str | None) -> None:
    """Write a package with an operation of your own, which installs and passes its own tests.

    It has a layer, the operation, a recipe, tests, and a pyproject.toml whose entry points make both known to surgeon.
    """
    from surgeon.disk.files import resolved
    from surgeon.scaffold import new_operation

    folder = resolved(name if output is None else output)
    for path in new_operation(name, folder):
        click.echo(path)
    click.echo(f"next: pip install -e {folder} && python -m pytest {folder}")
