"""Options that several commands share, and the model or folder that their arguments name."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from surgeon.arguments import SEEDS
from surgeon.cli.completing import complete_setting
from surgeon.cli.swapped import swapped
from surgeon.errors import ArgumentError, ArtifactError, MissingPackageError, ModelError, RecipeError, nearest
from surgeon.processes import device_named

if TYPE_CHECKING:
    import torch
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
            self.fail(f"{value!r} is not a size; write for instance 3,32,32", param, ctx)
        if size[-1] in (1, 3) and min(size[:-1]) > 4:
            first = ",".join(map(str, (size[-1], *size[:-1])))
            self.fail(f"{value!r} has the channels at its end; they come first: {first}", param, ctx)
        return size


class Fraction(click.ParamType):
    """A number, or a fraction such as 8/255."""

    name = "NUMBER"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        from surgeon.quantities import number

        try:
            found = float(number(value))
        except ValueError:
            found = -1.0
        if not found >= 0:
            self.fail(f"{value!r} is not a size; write for instance 8/255 or 0.5", param, ctx)
        return found


class Pair(click.ParamType):
    """key=value, the value read as YAML."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} must look like key=value", param, ctx)
        from surgeon import strict_yaml
        from surgeon.strict import shown

        try:
            return key, strict_yaml.load(text)
        except strict_yaml.YamlError as error:
            self.fail(f"the value of {shown(value)} cannot be read as YAML: {error.reason}", param, ctx)


def said_once(settings: tuple[str, ...], names: tuple[str, ...], part: str = "evaluation") -> None:
    """Refuse a setting of a part of the recipe that has an option of its own and is also given by --set.

    Raises RecipeError that names both.
    """
    here = click.get_current_context()
    said = {s.partition("=")[0].strip().removeprefix(f"{part}."): s for s in settings}
    for name in names:
        if name in said and here.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise RecipeError(f"--{name} and --set {said[name]} say the same thing: leave one out")


def each_once(
    context: click.Context, parameter: click.Parameter, pairs: tuple[tuple[str, Any], ...]
) -> tuple[tuple[str, Any], ...]:
    """Refuse a key that is given two values, of which the last would win unseen."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and (type(found[key]) is not type(value) or found[key] != value):
            raise click.BadParameter(
                f"{key}={found[key]} and {key}={value} say two things of one argument: leave one of them out",
                context,
                parameter,
            )
        found[key] = value
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
model_options = stacked(
    click.option(
        "--weights",
        type=click.Path(),
        metavar="FILE",
        help="Checkpoint to start from (.safetensors, .pth, …).",
    ),
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


def load_model(
    name: str,
    *,
    weights: str | None,
    pretrained: bool,
    num_classes: int | None,
    in_chans: int | None,
    input_size: tuple[int, ...] | None,
    model_args: tuple[tuple[str, Any], ...],
    allow_code: tuple[str, ...] = (),
    seed: int = 0,
) -> nn.Module:
    """The model that MODEL names: a name of timm, torchvision or the zoo, own code (`package.module:factory`), or a
    network that surgeon wrote: its folder, or its repository (`hf-hub:owner/name`).

    seed: of the initial weights, where none are loaded.

    Raises ModelError for an unknown name, and for options that a folder leaves nothing to do;
    ArtifactError for a folder that is none of surgeon's.
    """
    import torch

    import surgeon
    from surgeon.store.hub import folder_of

    torch.manual_seed(seed)
    code_lies_here(name, allow_code)
    _quiet_downloads(name)
    if _is_folder(name) or folder_of(name):
        given = {
            "--weights": weights,
            "--pretrained": pretrained,
            "--num-classes": num_classes,
            "--in-chans": in_chans,
            "--model-arg": model_args,
        }
        useless = [option for option, value in given.items() if value]
        if useless:
            raise ModelError(
                f"{name} is a folder, which fixes its network: {', '.join(useless)} cannot change it"
            )
        return surgeon.load(name, allow_code=allow_code)
    return surgeon.create_model(
        name,
        pretrained=pretrained,
        num_classes=num_classes,
        in_chans=in_chans,
        input_size=input_size,
        weights=weights,
        model_args=dict(model_args),
    )


def load_folder(name: str, allow_code: tuple[str, ...] = ()) -> nn.Module:
    """The network in a folder that surgeon wrote, or in its repository (`hf-hub:owner/name`)."""
    import surgeon

    code_lies_here(name, allow_code)
    _quiet_downloads(name)
    return surgeon.load(name, allow_code=allow_code)


def code_lies_here(name: str, allow_code: tuple[str, ...] = ()) -> None:
    """Let own code be imported from the present folder, as `python -m` does, where the command names some."""
    from surgeon.models.own import is_own

    if (allow_code or is_own(name)) and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


@contextlib.contextmanager
def processes() -> Iterator[bool]:
    """Whether this process is the first of those that run the command; on leaving, their group is ended."""
    try:
        from accelerate import PartialState
    except ImportError:
        raise MissingPackageError("this needs accelerate: pip install 'fx-surgeon[train]'") from None
    import torch

    cpu = not torch.cuda.is_available()
    state = PartialState(
        cpu=cpu, timeout=timedelta(days=7)
    )  # the first process alone may be long at diagnostics
    try:
        yield state.is_main_process
        state.wait_for_everyone()
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _is_folder(name: str) -> bool:
    """Whether MODEL means a folder: one that surgeon wrote, or a path that is not a name of a model.

    Raises ArtifactError for a path at which nothing is.
    """
    from surgeon.disk.folder_kinds import instead
    from surgeon.store.folder import CONFIG, no_network

    path = Path(name)
    if path.is_dir():
        return (path / CONFIG).is_file() or os.sep in name or bool(instead(path))
    if os.sep in name and (name.startswith((".", "~", os.sep)) or name.count(os.sep) > 1) and ":" not in name:
        raise ArtifactError(no_network(name))
    return False


def _quiet_downloads(name: str) -> None:
    """Leave it to the error at the end to say that a download failed, not to a line for each attempt."""
    from surgeon.models.own import is_own

    if not is_own(name) and not Path(name).is_dir():
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()


def told_apart(as_json: bool) -> contextlib.AbstractContextManager[object]:
    """With --json, what is printed on the way goes to standard error: standard output has the JSON alone."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def usable_device(name: str) -> torch.device:
    """The device called `name`. Raises ArgumentError if there is none here."""
    import torch

    found = device_named(name)
    try:
        torch.empty(1, device=found).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ArgumentError(f"device {name!r} cannot be used: {reason}") from error
    return found


def all_settings(settings: tuple[str, ...], given: dict[str, Any]) -> tuple[str, ...]:
    """The settings of --set, and the short forms, which are taken out of `given`.

    Raises RecipeError for one that is said twice.
    """
    short = {f"training.{k}": given.pop(k) for k in ("epochs", "lr", "batch_size")}
    said = {s.partition("=")[0].strip() for s in settings}
    for key, value in short.items():
        if value is not None and key in said:
            option = "--" + key.removeprefix("training.").replace("_", "-")
            raise RecipeError(f"{option} {value} and --set {key} say the same thing: leave one out")
    return (*settings, *(f"{k}={v}" for k, v in short.items() if v is not None))


def load_recipes(recipe: str, settings: tuple[str, ...], model: str | None = None) -> list[Recipe]:
    """The recipes that RECIPE names, joined by '+', with the settings of --set.

    model: what stands beside it; where the two are swapped, the error says so.

    A setting of an operation goes to every recipe that has it (`kap#2` is the second one of them all), one of
    `training`, `data` or `evaluation` to the recipe whose part `surgeon run` uses: the last that has one.
    """
    from surgeon.recipe import load_recipe, owners
    from surgeon.spelling import misplaced, split

    try:
        recipes = [load_recipe(name) for name in split(recipe)]
    except RecipeError as error:
        raise swapped(recipe, model, error) from None
    told: list[list[str]] = [[] for _ in recipes]
    for setting in settings:
        head, dot, rest = setting.partition(".")
        if not dot or "=" in head:
            raise RecipeError(misplaced(setting, owners(o.name for r in recipes for o in r.surgery)))
        for place, own in _owners(recipes, head, setting):
            told[place].append(own + dot + rest)
    return [
        load_recipe(one, its) for one, its in zip(recipes, told, strict=True)
    ]  # settings that fit together


def _owners(recipes: list[Recipe], head: str, setting: str) -> list[tuple[int, str]]:
    """Which recipes a setting is for, and what its operation is called in each."""
    from surgeon.recipe import PARTS

    if head in PARTS:
        having = [i for i, r in enumerate(recipes) if getattr(r, head)]
        return [(having[-1] if having else len(recipes) - 1, head)]
    name, numbered, number = head.partition("#")
    every = [
        (i, f"{name}#{n}")
        for i, r in enumerate(recipes)
        for n, _ in enumerate((o for o in r.surgery if o.name == name), 1)
    ]
    if numbered:
        found = (
            every[int(number) - 1 : int(number)]
            if number.isdecimal() and number.isascii() and int(number)
            else []
        )
    else:
        found = [(i, name) for i in sorted({i for i, _ in every})]
    if not found:
        valid = [*(o.name for r in recipes for o in r.surgery), *PARTS]
        raise RecipeError(f"setting {setting!r}: the recipe has no {head!r}; {nearest(head, valid)}")
    return found


def calibration_images(source: str | None, count: int, model: nn.Module, input_size: Any) -> Tensor | None:
    """Calibration images as the model takes them: normalised if its configuration says so."""
    if source is None:
        return None

    from surgeon.data import images
    from surgeon.models.facts import input_size_of, normalized

    size = input_size or input_size_of(model)
    if size is None:
        raise ArgumentError("--calibration needs --input-size: the model does not tell its own")
    return normalized(images(source, count, size), model)
