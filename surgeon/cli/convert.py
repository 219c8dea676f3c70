"""`surgeon convert RECIPE CHECKPOINT --model M --data SOURCE -o FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_model, complete_recipe, complete_setting
from surgeon.cli.parameters import Pair, Size
from surgeon.cli.settings import load_recipes
from surgeon.processes import usable_device

if TYPE_CHECKING:
    from torch import nn

    from surgeon.pipeline.job import Job


@click.command("convert")
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("checkpoint")
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=complete_model,
    help="The network that the checkpoint is of: timm's name, torchvision/NAME, zoo/NAME, package.module:factory.",
)
@click.option("--num-classes", type=click.IntRange(1), help="Classes of the classifier.")
@options.in_chans_option
@click.option("--input-size", type=Size(), help="Size of one image, without the batch.")
@click.option(
    "--model-arg",
    "model_args",
    type=Pair(),
    multiple=True,
    callback=options.each_once,
    help="Further argument of the model.",
)
@options.entry_option
@options.normalisation_options
@options.allow_code_option
@click.option(
    "--data",
    metavar="SOURCE",
    help="Labelled images: training images calibrate, test images measure the accuracy.",
)
@click.option("--root", metavar="FOLDER", help="Where a data set of timm's lies.")
@click.option(
    "--samples", type=click.IntRange(1), default=1000, show_default=True, help="Test images, class by class."
)
@options.calibration_options
@click.option(
    "--warm-start",
    metavar="START",
    help=(
        "What becomes of the weights: sequential, lstsq, replicate, anneal, naive; distill, "
        "mean; by default the recipe's."
    ),
)
@click.option(
    "--set",
    "settings",
    shell_complete=complete_setting,
    multiple=True,
    metavar="OP.KEY=VALUE",
    help="Change a setting of the recipe.",
)
@options.seed_option
@options.device_option
@options.output_option(required=True)
@options.json_option
def command(
    recipe: str,
    checkpoint: str,
    settings: tuple[str, ...],
    data: str | None,
    root: str | None,
    samples: int,
    calibration: str | None,
    calibration_count: int,
    warm_start: str | None,
    seed: int,
    device: str,
    output: str,
    overwrite: bool,
    as_json: bool,
    **network: Any,
) -> None:
    """Cut a trained CHECKPOINT by RECIPE so that it keeps what it can, and say what it lost, and where.

    CHECKPOINT is a file of weights of --model, a folder that surgeon or timm wrote, or a folder of such
    files: then each is converted into a folder of its own below the output, and those that are there already
    are not converted again.
    """
    recipes = load_recipes(recipe, settings, checkpoint)  # before anything that imports torch
    from surgeon.cli.results import conversion_table
    from surgeon.cli.tables import console
    from surgeon.disk.folder_kinds import instead
    from surgeon.pipeline.converting import checkpoints_in, convert
    from surgeon.pipeline.job import Job
    from surgeon.pipeline.lineage import lineage_of
    from surgeon.progress import progress, shown_by
    from surgeon.store.hub import folder_of, is_hub

    source, folder = Path(checkpoint), Path(output)
    as_said = network["num_classes"]
    many = source.is_dir() and not (source / "config.json").is_file() and not instead(source)
    files = checkpoints_in(source) if many else [source]
    _demand_model(checkpoint, source, many, network["model"])
    place = usable_device(device)
    name = network.pop("model") or checkpoint
    if source.is_dir() and not many and data:
        network["num_classes"] = None  # it permits more outputs than classes, and makes nothing of a folder

    def build(path: Path | None) -> nn.Module:
        weights = str(path) if path is not None and path.is_file() else None
        # A name that is admitted here stands for its own weights, which a repository of timm's gives as pretrained.
        known = is_hub(name) and folder_of(name) is None
        return networks.load_model(name, weights=weights, pretrained=known, seed=seed, **network).to(place)

    images = {
        "data": data,
        "root": root,
        "samples": samples,
        "calibration": calibration,
        "calibration_count": calibration_count,
        "input_size": network["input_size"],
        "warm_start": warm_start,
        "seed": seed,
    }
    said = {
        **images,
        "recipes": [r.model_dump(mode="json") for r in recipes],
        "model": name,
        "num_classes": as_said,
        "in_chans": network["in_chans"],
        "model_args": dict(network["model_args"]),
        **{k: network[k] for k in ("weights_entry", "mean", "std") if network[k] is not None},
    }
    job = Job(build, recipes, said, **images, lineage=lineage_of(checkpoint), source=checkpoint)
    if many:
        _many(job, files, folder, overwrite, as_json)
        return
    with progress(folder.name) as bar, shown_by(bar):
        conversion, before = convert(job, source, folder, overwrite=overwrite)
    if as_json:
        click.echo(conversion.model_dump_json(indent=2))
        return
    console().print(conversion_table(conversion))
    click.echo(f"{'was there already in' if before else 'written to'} {folder}")


def _many(job: Job, files: list[Path], folder: Path, overwrite: bool, as_json: bool) -> None:
    from surgeon.cli.results import conversions_table
    from surgeon.cli.tables import console
    from surgeon.errors import ArtifactError, SurgeonError
    from surgeon.pipeline.converting import CONVERSIONS, convert_all
    from surgeon.progress import progress, shown_by

    results = []
    with progress(folder.name) as bar, shown_by(bar):
        bar("checkpoints", 0, len(files))
        for done in convert_all(job, files, folder, overwrite=overwrite):
            results.append(done)
            bar("checkpoints", len(results), len(files))
    if as_json:
        click.echo((folder / CONVERSIONS).read_text(encoding="utf-8"))
    else:
        console().print(conversions_table(results))
    failed = [r.checkpoint.name for r in results if isinstance(r.found, SurgeonError)]
    if failed:
        raise ArtifactError(
            f"{len(failed)} of {len(results)} checkpoints were not converted: "
            f"{', '.join(failed[:5])} (see {folder / CONVERSIONS})"
        )


def _demand_model(checkpoint: str, source: Path, many: bool, model: str | None) -> None:
    from surgeon.errors import ModelError
    from surgeon.models.exported import demand_no_export

    if source.is_file():
        demand_no_export(source)
    if (many or source.is_file()) and not model:
        raise ModelError(f"{checkpoint} holds weights alone: say with --model which network they are of")
    if not many and not source.is_file() and model:
        what = "a model folder, which fixes its network" if source.is_dir() else "not a file"
        raise ModelError(f"{checkpoint} is {what}: --model is for a file of weights")
    if not many and not source.exists() and _is_random(checkpoint):
        raise ModelError(
            f"{checkpoint} is the name of a network with random weights, and convert cuts trained ones: give a file of "
            f"weights with --model {checkpoint}, or a model's folder; `surgeon apply` cuts a new network"
        )


def _is_random(name: str) -> bool:
    """Whether a name makes a network without trained weights; what own code makes is its author's."""
    from surgeon.models.creating import is_known
    from surgeon.models.own import is_own
    from surgeon.models.robustbench import is_robustbench
    from surgeon.store.hub import is_hub

    return not (is_own(name) or is_robustbench(name) or is_hub(name)) and is_known(name)
