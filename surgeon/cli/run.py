"""`surgeon run RECIPE MODEL -o FOLDER`."""

from __future__ import annotations

from typing import Any

import click

from surgeon.cli import options


@click.command("run")
@click.argument("recipe")
@click.argument("model")
@options.model_options
@options.training_options
@options.json_option
def command(recipe: str, model: str, settings: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Surgery, training and evaluation of RECIPE on MODEL, into one folder.

    A run that was killed goes on where it stopped when the same command is given again.
    """
    from surgeon.cli.tables import console
    from surgeon.pipeline import run

    recipes = options.load_recipes(recipe, settings)
    given["model_args"] = dict(given["model_args"])
    with options.processes() as first:
        summary = run(recipes, model, given.pop("output"), **given)
        if not first:
            return
        if as_json:
            click.echo(summary.model_dump_json(indent=2))
            return
        shares = {"clean": summary.clean, **summary.robust, "worst case": summary.worst}
        for name, share in shares.items():
            console().print(
                f"{name:12} {share.value:6.1%}  [{share.low:.1%}, {share.high:.1%}]", highlight=False
            )
        for finding in summary.findings:
            console().print(f"{finding.severity}: {finding.text}", highlight=False)
