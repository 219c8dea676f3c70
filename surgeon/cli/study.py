"""`surgeon study RECIPE MODEL --data SOURCE -o FOLDER`."""

from __future__ import annotations

from typing import Any

import click

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_model, complete_recipe
from surgeon.cli.parameters import Fraction
from surgeon.cli.processes import processes
from surgeon.cli.settings import all_settings, load_recipes, said_once


@click.command("study")
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("model", shell_complete=complete_model)
@options.model_options
@options.training_options
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many, from --seed on."
)
@click.option(
    "--suite", type=click.Choice(["basic", "quick", "standard"]), help="Of the evaluation; by default quick."
)
@click.option("--eps", type=Fraction(), help="Size of attacks, in [0, 1] pixels.")
@click.option("--samples", type=click.IntRange(1), help="Test images; by default as the suite says.")
@options.json_option
def command(
    recipe: str,
    model: str,
    settings: tuple[str, ...],
    as_json: bool,
    suite: str | None,
    eps: float | None,
    samples: int | None,
    **given: Any,
) -> None:
    """What RECIPE's surgery itself brings to MODEL: five arms with one budget and the same seeds.

    Stock, stock fine-tuned, surgery, surgery fine-tuned, and a placebo: identity layers at the same places, fine-tuned.
    Without --weights or --pretrained, a stock network is trained first. Resumable; other settings of the evaluation by
    --set evaluation.KEY=VALUE. `surgeon report` takes the arms' folders.
    """
    from surgeon.cli.evaluate import evaluation_settings
    from surgeon.cli.results import study_table
    from surgeon.cli.tables import console
    from surgeon.pipeline import study
    from surgeon.recipe import Evaluation

    said_once(tuple(s for s in settings if s.startswith("evaluation.")), ("suite", "eps", "samples"))
    recipes = load_recipes(recipe, all_settings(settings, given), model)
    own = next((r.evaluation for r in reversed(recipes) if r.evaluation), None) or Evaluation(suite="quick")
    asked = {"suite": suite, "eps": eps, "samples": samples}
    evaluation = evaluation_settings(
        {**own.model_dump(), **{k: v for k, v in asked.items() if v is not None}}, ()
    )
    given["model_args"] = dict(given["model_args"])
    networks.code_lies_here(model, given["allow_code"])
    with processes() as first:
        with options.json_alone(as_json):
            result = study(recipes, model, given.pop("output"), evaluation=evaluation, **given)
        if first and as_json:
            click.echo(result.model_dump_json(indent=2))
        elif first:
            console().print(study_table(result))
