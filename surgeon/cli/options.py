"""Options that several commands share."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import click

from surgeon.arguments import SEEDS
from surgeon.cli.completing import complete_setting
from surgeon.cli.parameters import Channels, Pair, Size


def each_once(
    context: click.Context, parameter: click.Parameter, pairs: tuple[tuple[str, Any], ...]
) -> tuple[tuple[str, Any], ...]:
    """Refuse a key that is given two values, of which the last would win unseen."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values and (type(values[key]) is not type(value) or values[key] != value):
            raise click.BadParameter(
                f"{key}={values[key]} and {key}={value} say two things of one argument: leave one of them out",
                context,
                parameter,
            )
        values[key] = value
    return pairs


def stacked(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Several option decorators as one."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


seed_option = click.option(
    "--seed", type=click.IntRange(0, SEEDS - 1), default=0, show_default=True, help="Of every random choice."
)


allow_code_option = click.option(
    "--allow-code",
    "allow_code",
    multiple=True,
    metavar="MODULE",
    help="Let a folder of a network of your own code import this module; repeatable.",
)


entry_option = click.option(
    "--weights-entry",
    metavar="NAME",
    help="Which weights of the file, where it holds several sets: the entry that they are under, such as model_ema.",
)


normalisation_options = stacked(
    click.option(
        "--mean",
        type=Channels(),
        help="What images were normalised by in training, channel by channel, in [0, 1] pixels; by default as the "
        "network's configuration says.",
    ),
    click.option("--std", type=Channels(), help="The deviations that go with --mean."),
)


model_options = stacked(
    click.option(
        "--weights",
        type=click.Path(),
        metavar="FILE",
        help="Checkpoint to start from (.safetensors, .pth, …).",
    ),
    entry_option,
    click.option("--pretrained", is_flag=True, help="The library's own pretrained weights."),
    click.option("--num-classes", type=click.IntRange(1), help="Classes of the classifier."),
    click.option("--input-size", type=Size(), help="Size of one image, without the batch."),
    click.option(
        "--model-arg",
        "model_args",
        type=Pair(),
        multiple=True,
        callback=each_once,
        help="Further argument of the model.",
    ),
    normalisation_options,
    allow_code_option,
)


in_chans_option = click.option("--in-chans", type=click.IntRange(1), help="Channels of the input.")


recipe_options = stacked(
    click.option(
        "--set",
        "settings",
        shell_complete=complete_setting,
        multiple=True,
        metavar="OP.KEY=VALUE",
        help="Change a setting of the recipe.",
    ),
    seed_option,
    click.option("--stack", is_flag=True, help="Allow a model that has had surgery, and add to it."),
)


calibration_options = stacked(
    click.option(
        "--calibration", metavar="SOURCE", help="Images for the start: a folder, a parquet file, or 'digits'."
    ),
    click.option(
        "--calibration-count",
        type=click.IntRange(1),
        default=1024,
        show_default=True,
        help="How many of them.",
    ),
)


training_options = stacked(
    click.option("--epochs", type=click.IntRange(1), metavar="N", help="Short for --set training.epochs=N."),
    click.option(
        "--lr",
        type=click.FloatRange(0, min_open=True),
        metavar="RATE",
        help="Short for --set training.lr=RATE.",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1), metavar="N", help="Short for --set training.batch_size=N."
    ),
    click.option(
        "--set",
        "settings",
        shell_complete=complete_setting,
        multiple=True,
        metavar="PART.KEY=VALUE",
        help="Change a setting of the recipe: of an operation, training, data or evaluation.",
    ),
    seed_option,
    click.option(
        "--data",
        metavar="SOURCE",
        help="'digits', a folder of images, parquet files, or a data set of timm's such as torch/cifar10; by default "
        "digits for a fresh network, and what a run's folder was trained on.",
    ),
    click.option("--root", metavar="FOLDER", help="Where a data set of timm's lies."),
    click.option(
        "-o", "--output", type=click.Path(), required=True, metavar="FOLDER", help="The run's folder."
    ),
    click.option("--device", default=None, help="Device, such as cpu or cuda; by default the best there is."),
    click.option(
        "--mixed-precision", type=click.Choice(["no", "bf16", "fp16"]), default="no", show_default=True
    ),
    click.option(
        "--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that read images."
    ),
    click.option(
        "--save-every",
        type=click.FloatRange(0),
        default=300,
        show_default=True,
        metavar="SECONDS",
        help="Between checkpoints within an epoch; there is one after each.",
    ),
    click.option(
        "--calibration-count",
        type=click.IntRange(1),
        default=1024,
        show_default=True,
        help="Training images for the start of a trained model's surgery.",
    ),
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


device_option = click.option(
    "--device", default="cpu", show_default=True, help="Device, such as cpu or cuda."
)


def output_option(*, required: bool) -> Callable[..., Any]:
    """-o/--output and --overwrite."""
    return stacked(
        click.option(
            "-o", "--output", type=click.Path(), required=required, metavar="FOLDER", help="Where to write."
        ),
        click.option("--overwrite", is_flag=True, help="Replace the folder if surgeon wrote it."),
    )


def json_alone(as_json: bool) -> contextlib.AbstractContextManager[object]:
    """With --json, what is printed on the way goes to standard error: standard output has the JSON alone."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def echo_json(content: Any) -> None:
    """Print plain data as JSON that every reader takes: what is not a finite number is null."""
    click.echo(json.dumps(_finite(content), indent=2, allow_nan=False))


def _finite(content: Any) -> Any:
    """The same, with None for NaN and infinities, which JSON does not have."""
    if isinstance(content, dict):
        return {k: _finite(v) for k, v in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(v) for v in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
