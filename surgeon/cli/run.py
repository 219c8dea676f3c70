"""`surgeon run RECIPE MODEL -o FOLDER`."""

from __future__ import annotations

from typing import Any

import click

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_model, complete_recipe
from surgeon.cli.processes import processes
from surgeon.cli.settings import all_settings, load_recipes


@click.command("run")
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("model", shell_complete=complete_model)
@options.model_options
@options.training_options
@options.json_option
def command(recipe: str, model: str, settings: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Surgery, training and evaluation of RECIPE on MODEL, into one folder.

    A run that was killed goes on where it stopped when the same command is given again.
    """
    recipes = load_recipes(recipe, all_settings(settings, given), model)  # before anything that imports torch
    from surgeon.cli.results import assessment_table
    from surgeon.cli.tables import console
    from surgeon.pipeline import run

    given["model_args"] = dict(given["model_args"])
    networks.code_lies_here(model, given["allow_code"])
    with processes() as first:
        with options.json_alone(as_json):
            assessment = run(recipes, model, given.pop("output"), **given)
        if not first:
            return
        if as_json:
            click.echo(assessment.model_dump_json(indent=2))
        else:
            console().print(assessment_table(assessment))
