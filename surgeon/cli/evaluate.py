"""`surgeon evaluate TARGET --data SOURCE --suite quick|lean|standard|plus|rand|paper|basic`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_attack, complete_model, complete_setting
from surgeon.cli.parameters import Fraction
from surgeon.cli.processes import processes
from surgeon.cli.settings import said_once
from surgeon.cli.swapped import refuse_recipe
from surgeon.processes import usable_device

if TYPE_CHECKING:
    from surgeon.recipe import Evaluation


@click.command("evaluate")
@click.argument("target", shell_complete=complete_model)
@options.model_options
@click.option(
    "--data",
    metavar="SOURCE",
    help="'digits', a folder of images, a parquet file, or a data set of timm's: its test images; by default what "
    "TARGET's folder was trained on.",
)
@click.option("--root", metavar="FOLDER", help="Where a data set of timm's lies.")
@click.option(
    "--suite",
    type=click.Choice(["basic", "quick", "lean", "standard", "plus", "rand", "paper"]),
    default="quick",
    show_default=True,
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_attack,
    help="An attack by its name, such as apgd-ce, square or fmn; repeatable. In place of a suite, or beside those of "
    "--suite, on all images that are right.",
)
@click.option(
    "--norm",
    type=click.Choice(["linf", "l2", "l1", "union"]),
    help="By default linf; in the suite paper the paper's. In the union an image must stand in each of its norms.",
)
@click.option(
    "--eps",
    type=Fraction(),
    help="Size of attacks, in [0, 1] pixels: by default 8/255 in linf, 0.5 in l2, 12 in l1; in the suite paper "
    "the paper's. "
    "Of the union: --set union.linf=…, union.l2=…, union.l1=….",
)
@click.option(
    "--samples", type=click.IntRange(1), help="Test images; by default as the suite says, class by class."
)
@click.option(
    "--paper",
    metavar="NAME",
    help="Whose tables the suite paper follows; by default the surgery's.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="MODEL",
    help="Another folder or model to attack, and to try the result on TARGET (transfer); repeatable.",
)
@click.option(
    "--certify",
    type=Fraction(),
    multiple=True,
    metavar="SIGMA",
    help="Certify by smoothing with this noise; repeatable.",
)
@click.option(
    "--shift",
    "shifts",
    multiple=True,
    type=click.Path(),
    metavar="FOLDER",
    help="A published shifted set as it is distributed: CIFAR-10-C, CIFAR-100-C, ImageNet-C, -A, -R, -Sketch, "
    "Stylized ImageNet, cue conflicts; repeatable.",
)
@click.option(
    "--set",
    "settings",
    shell_complete=complete_setting,
    multiple=True,
    metavar="KEY=VALUE",
    help="Another setting of the evaluation, such as certify_draws=1000; `surgeon recipes schema` lists them.",
)
@click.option(
    "--beyond/--no-beyond", default=None, help="Noise, patch and corruption curves; by default not in quick."
)
@click.option("--pictures/--no-pictures", default=None, help="Pictures of what the surgery did.")
@click.option("--probabilities", is_flag=True, help="TARGET ends in a softmax.")
@click.option("--strict", is_flag=True, help="Exit with 1 when diagnostics fail or there is no headline.")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Images that go through the model at once; changes no verdict, but the draws of a model that is random.",
)
@options.seed_option
@click.option("--device", help="Device, such as cpu or cuda; by default the best there is.")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    required=True,
    metavar="FOLDER",
    help="Where to write; resumed if it holds this evaluation.",
)
@options.json_option
def command(target: str, as_json: bool, strict: bool, **given: Any) -> None:
    """How robust TARGET is, and whether that number can be believed; all of it in one folder, with report.html.

    TARGET is a folder that surgeon wrote (a network, or a run), or the name of a model with --weights or
    --pretrained. An evaluation that was killed goes on where it stopped when the same command is given again.
    On many GPUs: accelerate launch -m surgeon evaluate …
    """
    if given["attacks"]:
        given |= _by_name(given["suite"], given["attacks"])
    else:
        given["beside"] = ()
    parts = (
        "suite",
        "attacks",
        "beside",
        "norm",
        "eps",
        "samples",
        "paper",
        "certify",
        "shifts",
        "beyond",
        "pictures",
    )
    said_once(given["settings"], parts)
    settings = evaluation_settings({p: given.pop(p) for p in parts}, given.pop("settings"))
    given["model_args"] = dict(given["model_args"])
    refuse_recipe(target)  # before anything that imports torch
    if given["device"]:
        usable_device(given["device"])
    from surgeon.cli.results import assessment_table
    from surgeon.cli.tables import console
    from surgeon.pipeline import evaluate_target

    networks.code_lies_here(target, given["allow_code"])
    with processes() as first:
        assessment = evaluate_target(target, given.pop("output"), settings, **given)
        if first:
            if as_json:
                options.echo_json(assessment.model_dump(mode="json"))
            else:
                console().print(assessment_table(assessment))
    if strict and (assessment.reliable is False or assessment.summary.headline is None):
        raise SystemExit(1)


def _by_name(suite: str, attacks: tuple[str, ...]) -> dict[str, Any]:
    """The options of attacks that are asked for by name: they are the suite basic, or run beside another's own."""
    asked = click.get_current_context().get_parameter_source("suite") is ParameterSource.COMMANDLINE
    if asked and suite != "basic":
        return {"attacks": (), "beside": attacks}
    return {"suite": "basic", "beside": ()}


def evaluation_settings(options: dict[str, Any], settings: tuple[str, ...]) -> Evaluation:
    """The settings of an evaluation from a command's options, and KEY=VALUE settings on top of them.

    Raises RecipeError for keys and values that an evaluation does not have.
    """
    from pydantic import ValidationError

    from surgeon.errors import RecipeError
    from surgeon.methods.registry import describe
    from surgeon.recipe import Evaluation, apply_settings

    given = {k: v for k, v in options.items() if v is not None and v != ()}
    own = [f"evaluation.{s.strip().removeprefix('evaluation.')}" for s in settings]
    content = apply_settings({"evaluation": given}, own)
    try:
        return Evaluation.model_validate(content["evaluation"])
    except ValidationError as error:
        raise RecipeError(f"evaluation: {describe(error, Evaluation)}") from None
