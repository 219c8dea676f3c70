"""`surgeon run RECIPE MODEL -o FOLDER`."""

from __future__ import annotations

from typing import Any

import click

from surgeon.cli import options


@click.command("run")
@click.argument("recipe")
@click.argument("model")
@options.model_options
@click.option(
    "--set", "settings", multiple=True, metavar="OP.KEY=VALUE", help="Change a setting of the recipe."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice.")
@click.option(
    "--data", default="digits", show_default=True, help="'digits', a folder of images, or a parquet file."
)
@click.option("-o", "--output", type=click.Path(), required=True, metavar="FOLDER", help="The run's folder.")
@options.json_option
def command(
    recipe: str, model: str, settings: tuple[str, ...], seed: int, data: str, output: str, as_json: bool,
    model_args: tuple[tuple[str, Any], ...], **model_options: Any,
) -> None:  # fmt: skip
    """Surgery, training and evaluation of RECIPE on MODEL, into one folder.

    A run that was killed goes on where it stopped when the same command is given again.
    """
    from surgeon.cli.tables import console
    from surgeon.pipeline import run

    recipes = options.load_recipes(recipe, settings)
    summary = run(recipes, model, output, data=data, seed=seed, model_args=dict(model_args), **model_options)
    if as_json:
        click.echo(summary.model_dump_json(indent=2))
        return
    for name, share in {"clean": summary.clean, **summary.robust, "worst case": summary.worst}.items():
        console().print(f"{name:12} {share.value:6.1%}  [{share.low:.1%}, {share.high:.1%}]", highlight=False)
    for finding in summary.findings:
        console().print(f"{finding.severity}: {finding.text}", highlight=False)
