"""`surgeon recipes list | show | validate | schema`."""

from __future__ import annotations

import click

from surgeon.cli import options
from surgeon.cli.completing import complete_recipe, complete_setting
from surgeon.cli.settings import load_recipes


@click.group("recipes")
def command() -> None:
    """List, show and validate recipes, and print the schema of their files."""


@command.command("list")
@options.json_option
def list_recipes(as_json: bool) -> None:
    """The shipped recipes and those of installed packages, with their papers.

    A package's recipe that cannot be used is listed with the package and the reason.
    """
    from surgeon.cli.sheet import Column, Sheet
    from surgeon.cli.tables import console
    from surgeon.methods.registry import clashes
    from surgeon.recipe.loading import surveyed

    recipes, bad = surveyed()
    bad |= {f"operation {name}": why for name, why in clashes().items()}
    if as_json:
        options.echo_json(
            [
                *({"name": name, "title": r.title, "paper": r.paper} for name, r in recipes.items()),
                *({"name": name, "error": why} for name, why in bad.items()),
            ]
        )
        return
    table = Sheet("recipe", Column("what it does", prose=True), Column("paper", prose=True))
    for name, r in recipes.items():
        table.add(name, r.title, r.paper)
    for name, why in bad.items():
        table.add(name, f"✗ {why}", "")
    console().print(table)


@command.command("show")
@click.argument("recipe", shell_complete=complete_recipe)
@click.option(
    "--set",
    "settings",
    shell_complete=complete_setting,
    multiple=True,
    metavar="OP.KEY=VALUE",
    help="Change a setting.",
)
@options.json_option
def show(recipe: str, settings: tuple[str, ...], as_json: bool) -> None:
    """A recipe in full, with what it extends, and as JSON with its defaults too.

    Of several joined by '+', one YAML document or one element of a JSON list each.
    """
    from surgeon.recipe import dump

    recipes = load_recipes(recipe, settings)
    if as_json:
        content = [r.model_dump(mode="json") for r in recipes]
        options.echo_json(content[0] if len(content) == 1 else content)
    else:
        click.echo("---\n".join(dump(r) for r in recipes), nl=False)


@command.command("validate")
@click.argument("files", nargs=-1, required=True)
def validate(files: tuple[str, ...]) -> None:
    """Check recipe files; the first fault ends with exit code 2."""
    from surgeon.recipe import load_recipe

    for file in files:
        recipe = load_recipe(file)
        click.echo(f"{file}: valid, {', '.join(o.name for o in recipe.surgery)}")


@command.command("schema")
def print_schema() -> None:
    """The JSON schema of a recipe file, with every registered operation."""
    from surgeon.recipe import schema

    options.echo_json(schema())
