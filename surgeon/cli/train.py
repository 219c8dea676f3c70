"""`surgeon train RECIPE MODEL --data SOURCE -o FOLDER`."""

from __future__ import annotations

from typing import Any

import click

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_model, complete_recipe
from surgeon.cli.processes import processes
from surgeon.cli.settings import all_settings, load_recipes


@click.command("train")
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("model", shell_complete=complete_model)
@options.model_options
@options.training_options
@options.json_option
def command(recipe: str, model: str, settings: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Surgery and training of RECIPE on MODEL, into one folder.

    RECIPE is a shipped name, several joined by '+' (such as kap+trades), or a YAML file; `plain` trains MODEL as it
    is. MODEL is a timm name, torchvision/NAME, zoo/NAME, or a folder written by surgeon (with a recipe
    without surgery). A training that was killed goes on where it stopped when the same command is given
    again. On many GPUs or
    machines: accelerate launch -m surgeon train …
    """
    recipes = load_recipes(recipe, all_settings(settings, given), model)  # before anything that imports torch
    from surgeon.pipeline import train

    given["model_args"] = dict(given["model_args"])
    networks.code_lies_here(model, given["allow_code"])
    with processes() as first:
        with options.json_alone(as_json):
            done = train(recipes, model, given.pop("output"), **given)
        if not first:
            return
        if as_json:
            options.echo_json([row._asdict() for row in done.history])
            return
        for line in done.sets.faults.lines():
            click.echo(line)
        click.echo(
            f"{done.folder}: trained/ holds the network, training/ the metrics, the last and the best weights"
        )
