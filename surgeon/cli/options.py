"""Options that several commands share, and the model or folder that their arguments name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from surgeon.errors import SurgeonError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from surgeon.recipe import Recipe


class Size(click.ParamType):
    """C,H,W (or C,T,H,W for video), as in 3,224,224."""

    name = "C,H,W"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            size = tuple(int(v) for v in str(value).replace("x", ",").split(","))
        except ValueError:
            size = ()
        if len(size) not in (3, 4) or min(size, default=0) < 1:
            self.fail(f"{value!r} is no size; write for instance 3,32,32", param, ctx)
        return size


class Pair(click.ParamType):
    """key=value, the value read as YAML."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} must look like key=value", param, ctx)
        return key, yaml.safe_load(text)


def stacked(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Several option decorators as one."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


model_options = stacked(
    click.option("--weights", type=click.Path(), metavar="FILE", help="Checkpoint to start from (.safetensors, .pth, …)."),
    click.option("--pretrained", is_flag=True, help="The library's own pretrained weights."),
    click.option("--num-classes", type=click.IntRange(1), help="Classes of the classifier."),
    click.option("--in-chans", type=click.IntRange(1), help="Channels of the input."),
    click.option("--input-size", type=Size(), help="Size of one image, without the batch."),
    click.option("--model-arg", "model_args", type=Pair(), multiple=True, help="Further argument of the model."),
)
recipe_options = stacked(
    click.option("--set", "settings", multiple=True, metavar="OP.KEY=VALUE", help="Change a setting of the recipe."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice."),
    click.option("--stack", is_flag=True, help="Allow a model that has had surgery, and add to it."),
)
calibration_options = stacked(
    click.option("--calibration", metavar="SOURCE", help="Images for the start: a folder, a parquet file, or 'digits'."),
    click.option(
        "--calibration-count", type=click.IntRange(1), default=1024, show_default=True, help="How many of them."
    ),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
device_option = click.option("--device", default="cpu", show_default=True, help="Device, such as cpu or cuda.")


def output_option(*, required: bool) -> Callable[..., Any]:
    """-o/--output and --overwrite."""
    return stacked(
        click.option("-o", "--output", type=click.Path(), required=required, metavar="FOLDER", help="Where to write."),
        click.option("--overwrite", is_flag=True, help="Replace the folder if it exists."),
    )


def load_model(
    name: str,
    *,
    weights: str | None,
    pretrained: bool,
    num_classes: int | None,
    in_chans: int | None,
    input_size: tuple[int, ...] | None,
    model_args: tuple[tuple[str, Any], ...],
    seed: int = 0,
) -> nn.Module:
    """The model that MODEL names: a name of timm or torchvision, or a folder written by surgeon.

    seed: of the initial weights, where none are loaded.
    """
    import torch

    import surgeon

    torch.manual_seed(seed)

    if Path(name).is_dir():
        from surgeon.artifact import CONFIG

        if (Path(name) / CONFIG).is_file() or "/" in name:
            return surgeon.load(name)
    return surgeon.create_model(
        name, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans, input_size=input_size,
        weights=weights, model_args=dict(model_args),
    )  # fmt: skip


def load_recipes(recipe: str, settings: tuple[str, ...]) -> list[Recipe]:
    """The recipes that RECIPE names, joined by '+', with the settings of --set."""
    from surgeon.errors import RecipeError
    from surgeon.recipe import load_recipe

    names = recipe.split("+") if not recipe.endswith((".yaml", ".yml")) else [recipe]
    recipes = [load_recipe(n) for n in names]
    for setting in settings:
        problem: RecipeError | None = None
        done = False
        for i, one in enumerate(recipes):
            try:
                recipes[i] = load_recipe(one, [setting])
                done = True
            except RecipeError as error:
                if "the recipe has no" not in str(error) or problem is None:
                    problem = error
                if "the recipe has no" not in str(error):
                    raise
        if not done and problem is not None:
            raise problem
    return recipes


def calibration_images(source: str | None, count: int, model: nn.Module, input_size: Any) -> Tensor | None:
    """Calibration images as the model takes them: normalised if its configuration says so."""
    if source is None:
        return None
    import torch

    from surgeon.data import images
    from surgeon.models import input_size_of

    size = input_size or input_size_of(model)
    if size is None:
        raise SurgeonError("--calibration needs --input-size: the model does not tell its own")
    found = images(source, count, size)
    config = model.__dict__.get("pretrained_cfg") or {}
    mean, std = config.get("mean"), config.get("std")
    if mean and std and len(mean) == found.shape[1]:
        shape = (1, -1, 1, 1)
        found = (found - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    return found
