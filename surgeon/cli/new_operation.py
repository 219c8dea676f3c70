"""`surgeon new-operation NAME`."""

from __future__ import annotations

import click


@click.command("new-operation")
@click.argument("name")
@click.option(
    "-o",
    "--output",
    help="The folder to write; with --inside the checkout. [default: the name; with --inside this folder]",
    metavar="FOLDER",
)
@click.option("--inside", is_flag=True, help="Write a room into a checkout of surgeon, not a package.")
def command(name: str, output: str | None, inside: bool) -> None:
    """Write an operation of your own, which passes its own tests: a package, or a room of surgeon.

    A package has a layer, the operation, a recipe, tests, and a pyproject.toml whose entry points make both known to
    surgeon. A room has the same in surgeon's own layout, with a slow reference; nothing has to be listed anywhere.
    """
    from surgeon.disk.files import resolved
    from surgeon.scaffold import new_operation

    folder = resolved(("." if inside else name) if output is None else output)
    written = new_operation(name, folder, inside=inside)
    for path in written:
        click.echo(path)
    if inside:
        tests = next(path for path in written if path.name.startswith("test_"))
        click.echo(f"next: python -m pytest {tests}, then a line in {folder / 'CHANGELOG.md'}")
    else:
        click.echo(f"next: pip install -e {folder} && python -m pytest {folder}")
