"""`surgeon convert RECIPE CHECKPOINT --model M --data SOURCE -o FOLDER`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgeon.cli import options

if TYPE_CHECKING:
    from torch import Tensor

    from surgeon.data import Images


@click.command("convert")
@click.argument("recipe")
@click.argument("checkpoint")
@click.option("--model", metavar="NAME", help="The network that the checkpoint is of: timm's name, torchvision/NAME, zoo/NAME, package.module:factory.")  # fmt: skip
@click.option("--num-classes", type=click.IntRange(1), help="Classes of the classifier.")
@options.in_chans_option
@click.option("--input-size", type=options.Size(), help="Size of one image, without the batch.")
@click.option(
    "--model-arg", "model_args", type=options.Pair(), multiple=True, help="Further argument of the model."
)
@options.allow_code_option
@click.option("--data", metavar="SOURCE", help="Labelled images: training images calibrate, test images measure the accuracy.")  # fmt: skip
@click.option("--root", metavar="FOLDER", help="Where a data set of timm's lies.")
@click.option(
    "--samples", type=click.IntRange(1), default=1000, show_default=True, help="Test images, class by class."
)
@options.calibration_options
@click.option("--warm-start", metavar="START", help="What becomes of the weights: sequential, lstsq, replicate, anneal, naive; distill, mean; by default the recipe's.")  # fmt: skip
@click.option(
    "--set", "settings", multiple=True, metavar="OP.KEY=VALUE", help="Change a setting of the recipe."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice.")
@options.device_option
@options.output_option(required=True)
@options.json_option
def command(
    recipe: str, checkpoint: str, settings: tuple[str, ...], data: str | None, root: str | None, samples: int,
    calibration: str | None, calibration_count: int, warm_start: str | None, seed: int, device: str, output: str,
    overwrite: bool, as_json: bool, **network: Any,
) -> None:  # fmt: skip
    """Cut a trained CHECKPOINT by RECIPE so that it keeps what it can, and say what it lost, and where.

    CHECKPOINT is a file of weights of --model, a folder that surgeon or timm wrote, or a folder of such files: then each
    is converted into a folder of its own below the output, and those that are there already are not converted again.
    """
    from surgeon.artifact import check_free
    from surgeon.cli.tables import console, conversion_table
    from surgeon.errors import ArtifactError
    from surgeon.pipeline.converting import Job, checkpoints_in, convert, read_conversion

    source, folder = Path(checkpoint), Path(output)
    many = source.is_dir() and not (source / "config.json").is_file()
    files = checkpoints_in(source) if many else [source]
    _demand_model(checkpoint, source, many, network)
    recipes = options.load_recipes(recipe, settings)
    place = options.usable_device(device)

    def build(path: Path | None) -> Any:
        if source.is_file() or many:
            return options.load_model(
                network["model"], weights=str(path), pretrained=False, seed=seed, **_given(network)
            ).to(place)
        return options.load_model(
            checkpoint, weights=None, pretrained=False, seed=seed, **_given(network)
        ).to(place)

    said = {
        "recipes": [r.model_dump(mode="json") for r in recipes], "model": network["model"] or checkpoint, "data": data,
        "calibration": calibration, "calibration_count": calibration_count, "samples": samples, "seed": seed,
        "warm_start": warm_start, "input_size": list(network["input_size"] or ()), "num_classes": network["num_classes"],
    }  # fmt: skip
    if not many:
        there = None if overwrite else read_conversion(folder)
        if there is not None and there.settings != json.loads(json.dumps(said)):
            raise ArtifactError(
                f"{folder} holds another conversion; choose another folder, or overwrite it (--overwrite)"
            )
        if there is None and not (folder / "config.json").is_file():
            check_free(folder, overwrite=overwrite)
    first = build(files[0])
    pictures, test = _images(
        first, data, root, samples, calibration, calibration_count, network["input_size"], seed
    )
    job = Job(
        build, recipes, network["input_size"], pictures, test, json.loads(json.dumps(said)), warm_start, seed
    )
    if many:
        _many(job, files, folder, as_json)
        return
    found = there or convert(job, source, folder, overwrite=overwrite)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    console().print(conversion_table(found))
    console().print(f"{'was there already in' if there else 'written to'} {folder}", highlight=False)


def _many(job: Any, files: list[Path], folder: Path, as_json: bool) -> None:
    from surgeon.cli.tables import console, conversions_table
    from surgeon.errors import SurgeonError
    from surgeon.evaluation.progress import progress
    from surgeon.files import write_json
    from surgeon.pipeline.converting import Conversion, convert_all

    told = progress()
    told("checkpoints", 0, len(files))
    results: list[tuple[str, Any, bool]] = []
    for path, found, before in convert_all(job, files, folder):
        results.append((path.name, found, before))
        told("checkpoints", len(results), len(files))
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"checkpoint": n, **({"error": str(f)} if isinstance(f, SurgeonError) else f.model_dump(mode="json"))}
        for n, f, _ in results
    ]
    write_json(folder / "conversions.json", rows)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        console().print(conversions_table(results))
    failed = [n for n, f, _ in results if not isinstance(f, Conversion)]
    if failed:
        raise SurgeonError(
            f"{len(failed)} of {len(results)} checkpoints were not converted: {', '.join(failed[:5])} (see "
            f"{folder / 'conversions.json'})"
        )


def _given(network: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in network.items() if k != "model"}


def _demand_model(checkpoint: str, source: Path, many: bool, network: dict[str, Any]) -> None:
    from surgeon.errors import ModelError

    if (many or source.is_file()) and not network["model"]:
        raise ModelError(f"{checkpoint} holds weights alone: say with --model which network they are of")
    if not many and not source.is_file() and network["model"]:
        raise ModelError(
            f"{checkpoint} is {'a model folder, which fixes its network' if source.is_dir() else 'no file'}: --model is for a file of weights"
        )


def _images(
    model: Any, data: str | None, root: str | None, samples: int, calibration: str | None, count: int,
    size: tuple[int, ...] | None, seed: int,
) -> tuple[Tensor | None, Images | None]:  # fmt: skip
    """Calibration images and labelled test images, in [0, 1]."""
    from surgeon.data import Images, drawn, held_out_of, images, load_sets
    from surgeon.errors import SurgeonError
    from surgeon.models import input_size_of

    size = size or input_size_of(model)
    if (data or calibration) and (size is None or len(size) != 3):
        raise SurgeonError(
            f"images need the size of one, (C, H, W): pass --input-size; the model tells {size}"
        )
    pictures, test = None, None
    if data:
        sets = load_sets(data, input_size=size, root=root, seed=seed)  # type: ignore[arg-type]
        chosen = held_out_of(sets, samples)
        test = Images(chosen.x, chosen.y)
        if not calibration:
            pictures = drawn(sets.train, count, seed=seed)
    if calibration:
        pictures = images(calibration, count, size)  # type: ignore[arg-type]
    return pictures, test
