"""`surgeon apply RECIPE MODEL -o FOLDER`."""

from __future__ import annotations

from typing import Any

import click

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_model, complete_recipe
from surgeon.cli.settings import load_recipes
from surgeon.processes import usable_device


@click.command("apply")
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("model", shell_complete=complete_model)
@options.model_options
@options.in_chans_option
@options.recipe_options
@options.calibration_options
@options.device_option
@options.output_option(required=True)
@options.json_option
def command(
    recipe: str,
    model: str,
    settings: tuple[str, ...],
    seed: int,
    stack: bool,
    calibration: str | None,
    calibration_count: int,
    device: str,
    output: str,
    overwrite: bool,
    as_json: bool,
    **model_options: Any,
) -> None:
    """Rewrite MODEL by RECIPE, verify the result, and save it to a folder.

    RECIPE is a shipped name (see `surgeon recipes list`), several joined by '+', or a YAML file. MODEL is
    a timm name, torchvision/NAME, zoo/NAME, or a folder written by surgeon.
    """
    recipes = load_recipes(recipe, settings, model)  # before anything that imports torch
    from surgeon import apply, save, verify
    from surgeon.cli.tables import checks_table, console, plan_table
    from surgeon.models.calibration import MOST
    from surgeon.ownership import check_apart, reserved
    from surgeon.pipeline.idle import of_calibration, tell
    from surgeon.pipeline.lineage import beside
    from surgeon.verification import demand

    check_apart(output, [calibration])
    with reserved(output, overwrite=overwrite, inputs=[model, model_options["weights"], calibration]):
        place = usable_device(device)
        network = networks.load_model(model, seed=seed, **model_options).to(place)
        images = networks.calibration_images(
            calibration, calibration_count, network, model_options["input_size"]
        )
        there = None if images is None else len(images)
        if there is None or there < calibration_count or there > MOST:
            tell("apply", of_calibration(calibration_count, there, "--calibration names no images"))
        trained = networks.trained(model, model_options)
        rewritten = apply(
            network,
            recipes,
            input_size=model_options["input_size"],
            seed=seed,
            trained=trained,
            calibration=images,
            stack=stack,
        )
        checks = verify(network, rewritten)
        demand(checks)
        save(rewritten, output, overwrite=overwrite, beside=beside(model, model_options["weights"]))
    record = rewritten.surgery
    if as_json:
        click.echo(record.model_dump_json(indent=2))
        return
    console().print(plan_table(record))
    console().print(checks_table(checks))
    click.echo(f"written to {output}")
