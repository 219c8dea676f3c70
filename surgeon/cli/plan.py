"""`surgeon plan RECIPE MODEL`."""

from __future__ import annotations

from typing import Any

import click

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_model, complete_recipe
from surgeon.cli.settings import load_recipes


@click.command("plan")
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("model", shell_complete=complete_model)
@options.model_options
@options.in_chans_option
@options.recipe_options
@click.option("--full", is_flag=True, help="List every edit.")
@options.json_option
def command(
    recipe: str,
    model: str,
    settings: tuple[str, ...],
    seed: int,
    stack: bool,
    full: bool,
    as_json: bool,
    **model_options: Any,
) -> None:
    """Show what RECIPE would do to MODEL: edits, what is passed over and why, growth, and what happens to
    the function the model computes. Nothing is changed or written."""
    recipes = load_recipes(recipe, settings, model)  # before anything that imports torch
    from surgeon import plan
    from surgeon.cli.tables import console, plan_table

    network = networks.load_model(model, seed=seed, **model_options)
    trained = networks.trained(model, model_options)
    made = plan(
        network, recipes, input_size=model_options["input_size"], seed=seed, trained=trained, stack=stack
    )
    if as_json:
        click.echo(made.model_dump_json(indent=2))
    else:
        console().print(plan_table(made, full=full))
