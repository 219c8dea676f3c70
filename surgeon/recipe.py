"""Recipes: what to do to a network, as data in a YAML file. Imports no torch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from surgeon import html, strict_yaml
from surgeon.errors import RecipeError, SurgeonError, as_value_errors, nearest
from surgeon.markdown import plain
from surgeon.merging import merge
from surgeon.methods.base import Operation
from surgeon.methods.registry import describe, get, names, papers, parse
from surgeon.quantities import Deviation, Quantity, Smoothing, WithinPixels
from surgeon.said import Said
from surgeon.spelling import known, misplaced, unknown
from surgeon.strict import Prose, Strict, shown

Side = Annotated[int, Field(ge=1, le=65_536)]
LARGEST = 1e6
"""The largest rate, decay or weight of a training: float32 overflows in products with larger ones."""
Told = Annotated[Prose, Field(max_length=1000)]
NAME = r"^[\w(][\w .,+#()\-]*$"
"""Characters of a recipe's name."""
PARTS = ("training", "data", "evaluation")
"""The parts of a recipe beside its surgery."""
_LONGEST_CHAIN = 20


class Adversary(WithinPixels, Strict):
    """Adversarial training: the attack that each batch is trained on. ε and step sizes are in [0, 1] pixels.

    `pgd` is Madry et al. 2018, with early stopping as in Rice et al. 2020 by `keep: best`; `fgsm` is
    Goodfellow et al. 2015; `fgsm-rs` Wong et al. 2020 (one step from a random start); `trades` Zhang et al.
    2019.

    Attributes:
        method: The attack.
        norm: The norm that bounds it.
        eps: Its bound ε.
        steps: Number of steps, of pgd and trades.
        step_size: Size of a step. Default: 1.25 ε for fgsm-rs, ε for fgsm, otherwise 2.5 ε / steps.
        beta: Weight of the second term of TRADES.
        clean_share: Share of each batch that is left clean.
    """

    method: Literal["fgsm", "fgsm-rs", "pgd", "trades"] = "pgd"
    norm: Literal["linf", "l2"] = "linf"
    eps: Quantity = Field(default=8 / 255, ge=0)
    steps: int = Field(default=10, ge=1, description="of pgd and trades")
    step_size: Quantity | None = Field(
        default=None, gt=0, description="by default 1.25 eps for fgsm-rs, eps for fgsm, else 2.5 eps / steps"
    )
    beta: float = Field(default=6.0, ge=0, le=LARGEST, description="weight of TRADES' second term")
    clean_share: float = Field(default=0.0, ge=0, lt=1, description="share of each batch that is left clean")


class Training(Strict):
    """How `surgeon train` and `surgeon run` train the rewritten network."""

    epochs: int = Field(default=10, ge=0)
    batch_size: int = Field(
        default=128, ge=1, description="images a step, of all processes and micro-batches"
    )
    accumulate: int = Field(
        default=1, ge=1, description="micro-batches that a process cuts its part of a batch into"
    )
    optimizer: str = Field(default="sgd", description="a name of timm.optim, such as sgd (Nesterov) or adamw")
    lr: float = Field(default=0.05, gt=0, le=LARGEST)
    min_lr: float = Field(default=1e-3, ge=0, le=LARGEST)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, le=LARGEST)
    schedule: str = Field(
        default="cosine",
        description="cosine, linear, step, multistep, plateau, constant, or another of timm.scheduler",
    )
    warmup_epochs: float = Field(
        default=0, ge=0, le=LARGEST, description="of learning rates that rise from 0"
    )
    clip_grad: float | None = Field(default=None, gt=0)
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of a moving average of the weights, kept instead"
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="the weights that the training ends with"
    )
    pad: int = Field(default=0, ge=0, description="pad by so many zeros and crop at random to the old size")
    flip: bool = Field(default=False, description="mirror half of the images")
    transform: dict[str, Any] | None = Field(
        default=None,
        description="arguments of timm.data.create_transform, for images that are read one by one",
    )
    mixup: float = Field(default=0, ge=0, le=LARGEST, description="α of timm's mixup")
    cutmix: float = Field(default=0, ge=0, le=LARGEST, description="α of timm's cutmix")
    smoothing: float = Field(default=0, ge=0, lt=1, description="label smoothing")
    adversary: Adversary | None = None
    noise_share: float = Field(
        default=0.5, ge=0, le=1, description="share of the epochs with noise layers on"
    )
    anneal_share: float = Field(default=0.5, ge=0, le=1, description="share of the steps that anneals take")
    exact: bool = Field(
        default=True, description="several processes give what one would: noise and batch norms are shared"
    )
    channels_last: bool = False
    compile: bool = Field(default=False, description="torch.compile")

    @model_validator(mode="after")
    def _fits_together(self) -> Training:
        if "min_lr" in self.model_fields_set and self.min_lr > self.lr:
            raise ValueError(
                f"min_lr={self.min_lr:g} is above lr={self.lr:g}: the rate would rise; lower min_lr"
            )
        if 0 < self.epochs <= self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs:g} leaves nothing of "
                f"epochs={self.epochs}: the full rate is never reached"
            )
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate={self.accumulate} cuts a batch_size={self.batch_size} into parts of no image"
            )
        return self


class Data(Strict):
    """Which images of a source `surgeon train` and `surgeon run` use, and how they are split."""

    val_share: float = Field(
        default=0.1, gt=0, lt=1, description="of the training images, where the source has no such split"
    )
    test_share: float = Field(
        default=0.1, gt=0, lt=1, description="of all images, where the source has no such split"
    )
    stratified: bool = Field(default=True, description="split class by class")
    classes: tuple[str, ...] | None = Field(default=None, description="these classes, by name, in this order")
    per_class: int | None = Field(default=None, ge=1, description="so many training images of each class")
    faults: Literal["refuse", "skip"] = Field(
        default="refuse", description="what cannot be read, has no label or a wrong one"
    )
    grayscale: bool = False
    size: tuple[Side, Side] | None = Field(
        default=None, description="(height, width); by default the model's, else the images'"
    )
    in_memory: Literal["auto", "always", "never"] = Field(
        default="auto", description="auto: below 2 GiB of decoded bytes"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Data:
        if self.val_share + self.test_share >= 1:
            raise ValueError(
                f"val_share={self.val_share:g} and test_share={self.test_share:g} leave no images for training"
            )
        if self.classes is not None and (len(set(self.classes)) < len(self.classes) or not self.classes):
            raise ValueError("classes names none, or one of them twice")
        return self


class Evaluation(WithinPixels, Strict):
    """How a network is attacked (`surgeon.evaluation.suites` reads it). ε and steps are in [0, 1] pixels."""

    suite: Literal["basic", "quick", "standard", "paper"] = Field(
        default="basic",
        description="basic: the attacks named below; quick, standard, paper: those of the suite",
    )
    attacks: tuple[Literal["fgsm", "pgd", "own-pgd"], ...] = Field(default=("fgsm", "pgd"), min_length=1)
    norm: Literal["linf", "l2"] | None = Field(
        default=None, description="by default linf; in the suite paper the paper's"
    )
    eps: Quantity | None = Field(
        default=None, ge=0, description="by default 8/255 in linf, 0.5 in l2; in the suite paper the paper's"
    )
    steps: int = Field(default=20, ge=1, description="of pgd, in the suite basic")
    samples: int | None = Field(
        default=None, ge=1, description="images of the test set; by default as the suite says, or all"
    )
    paper: str | None = Field(
        default=None,
        description="whose tables the suite paper follows; by default the one of the operations in the model",
    )
    mode: Literal["auto", "standard", "random"] = Field(
        default="auto",
        description="random: attacks on the expectation over a model's noise; auto asks the model",
    )
    diagnostics: int | None = Field(
        default=None, ge=0, description="images for diagnostics; by default 128, and 0 in the suite basic"
    )
    beyond: bool | None = Field(
        default=None, description="noise, patch and corruption curves; by default in standard and paper"
    )
    gaussian: tuple[Deviation, ...] = Field(default=(0.05, 0.1, 0.15, 0.2, 0.3), description="σ of the curve")
    uniform: tuple[Annotated[Quantity, Field(ge=0)], ...] = Field(
        default=(0.1, 0.2, 0.4, 0.6, 0.8, 1.0), description="upper bounds of the curve"
    )
    patches: tuple[PositiveInt, ...] = Field(
        default=(2, 4, 8), description="images are cut in n × n patches and shuffled"
    )
    keep: bool | None = Field(
        default=None,
        description="store adversarial images, and test noise on them; by default in the suite paper",
    )
    certify: tuple[Smoothing, ...] = Field(default=(), description="σ of randomized smoothing, each once")
    certify_samples: int = Field(default=500, ge=1)
    certify_draws: int = Field(default=100_000, ge=1)
    pictures: bool | None = Field(default=None, description="by default in quick, standard and paper")

    @field_validator("paper")
    @classmethod
    def _published(cls, value: str | None) -> str | None:
        if value is not None and value not in papers():
            raise ValueError(f"paper={shown(value)} is no method's paper; {nearest(value, papers())}")
        return value

    @model_validator(mode="after")
    def _each_once(self) -> Evaluation:
        if len(set(self.certify)) < len(self.certify):
            raise ValueError(f"certify={self.certify} has a σ twice")
        return self


class Recipe(Strict):
    """A named list of operations, with its paper and the source of its settings.

    Attributes:
        name: The name that the record states.
        title: One line of what it does.
        paper: The paper that it follows.
        source: Where the settings come from: table, section, or this project.
        surgery: The operations, in order; an empty list trains the network as it is.
        training: How to train, or None.
        data: Which images to use, or None.
        evaluation: How to attack the result, or None.

    Examples:
        >>> import surgeon
        >>> [operation.name for operation in surgeon.load_recipe("kap").surgery]
        ['kap']
    """

    name: str = Field(max_length=400, pattern=NAME)
    title: Told = ""
    paper: Told = ""
    source: Told = Field(
        default="", description="where the settings come from: table, section, or this project"
    )
    surgery: tuple[SerializeAsAny[Operation], ...] = Field(
        description="an empty list trains the network as it is"
    )
    training: Training | None = None
    data: Data | None = None
    evaluation: Evaluation | None = None

    @field_validator("surgery", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise ValueError("surgery must be a list of operations")
        with as_value_errors():
            return tuple(v if isinstance(v, Operation) else parse(v) for v in value)

    def _repr_html_(self) -> str:
        """Show every setting that differs from its default, in a notebook."""
        sources = {"title": self.title, "paper": self.paper, "source": self.source}
        rows = [(k, v) for k, v in sources.items() if v]
        for number, operation in enumerate(self.surgery, 1):
            own = operation.model_dump(mode="json", exclude_defaults=True)
            rows.append((f"operation {number}", f"{operation.name} {_settings(own)}"))
        for name in PARTS:
            part = getattr(self, name)
            if part is not None:
                rows.append((name, _settings(part.model_dump(mode="json", exclude_defaults=True))))
        return html.table(rows, caption=f"recipe {self.name}")


def _settings(values: Mapping[str, Any]) -> str:
    """Write settings as `key=value`, separated by commas."""
    return ", ".join(f"{k}={v}" for k, v in values.items() if k != "op")


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes, in an installed package or beside it in a checkout.

    Returns:
        The folder.

    Raises:
        RecipeError: There is none.
    """
    package = Path(__file__).parent
    inside = package / "recipes"
    if inside.is_dir():
        return inside
    if (package.parent / "pyproject.toml").is_file() and (package.parent / "recipes").is_dir():
        return package.parent / "recipes"
    raise RecipeError(
        f"the shipped recipes are missing: neither {inside} nor a checkout's recipes folder exists"
    )


def shipped() -> tuple[str, ...]:
    """List the names of the shipped recipes.

    Returns:
        The names, sorted.

    Examples:
        >>> "kap" in shipped()
        True
    """
    return tuple(sorted(p.stem for p in recipe_folder().glob("*.yaml")))


def load_recipe(
    recipe: str | PathLike[str] | Mapping[str, Any] | Recipe, settings: Iterable[str] = ()
) -> Recipe:
    """Load a recipe from a shipped name, a YAML file or a mapping, and override settings.

    A file may `extends:` another, by a shipped name or by a path relative to its own folder. Mappings are
    merged key by key, and the n-th operation of a name with the n-th of that name; operations that the
    extended recipe lacks are appended. A recipe without a name is named after its file, or after the
    operations of a mapping.

    Args:
        recipe: The name, file or mapping, or a Recipe to override settings of.
        settings: `key=value` strings, as for `apply_settings`.

    Returns:
        The recipe.

    Raises:
        RecipeError: Something is missing, unknown or malformed; the message gives the nearest valid names.

    Examples:
        >>> import surgeon
        >>> surgeon.load_recipe("kap", ["kap.kernel_size=5"]).surgery[0].kernel_size
        5
    """
    settings = tuple(settings)
    if isinstance(recipe, Recipe):
        return recipe if not settings else _validate(apply_settings(_plain(recipe), settings), recipe.name)
    if isinstance(recipe, Mapping):
        try:
            content = _extended(dict(recipe), None, ())
            content.setdefault("name", _name(content))
            return _validate(apply_settings(content, settings), plain(content["name"], 80))
        except RecursionError:
            raise RecipeError("the recipe is nested too deep to be one") from None
    path = _find(recipe)
    content = _read(path)
    content.setdefault("name", path.stem)
    return _validate(apply_settings(_extended(content, path, (path,)), settings), str(path.name))


def _name(content: Mapping[str, Any]) -> str:
    """Name a recipe after its operations."""
    surgery = content.get("surgery")
    named = [str(o.get("op")) for o in surgery if isinstance(o, Mapping)] if isinstance(surgery, list) else []
    return "+".join(named) or "recipe"


def _find(recipe: str | PathLike[str]) -> Path:
    """Return the file of a recipe given by name or path."""
    text = str(recipe)
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") or "/" in text:
        if not path.is_file():
            raise RecipeError(unknown(plain(text, 200), shipped()))
        return path
    name = known(text, shipped())
    if name is None:
        using = [n for n in shipped() if text in names() and text in [o.name for o in load_recipe(n).surgery]]
        raise RecipeError(unknown(text, shipped(), using))
    return recipe_folder() / f"{name}.yaml"


def _read(path: Path) -> dict[str, Any]:
    """Read a recipe file as a mapping."""
    try:
        if path.stat().st_size > strict_yaml.LONGEST:
            raise RecipeError(f"{path} cannot be read: it is larger than {strict_yaml.LONGEST >> 20} MiB")
        content = strict_yaml.load(path.read_text(encoding="utf-8"))
    except strict_yaml.YamlError as error:
        raise RecipeError(f"{path}, {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds {type(content).__name__}, not a mapping with the key 'surgery'")
    return content


def _extended(content: dict[str, Any], path: Path | None, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Merge a recipe into the one that it extends."""
    parent = content.pop("extends", None)
    if parent is None:
        return content
    beside = path.parent / str(parent) if path is not None else None
    target = beside if beside is not None and beside.is_file() else _find(str(parent))
    if target.resolve() in [p.resolve() for p in seen]:
        chain = " → ".join(p.name for p in (*seen, target))
        raise RecipeError(f"recipes extend one another in a circle: {chain}")
    if len(seen) > _LONGEST_CHAIN:
        raise RecipeError(f"{seen[0]} extends a chain of more than {_LONGEST_CHAIN} recipes")
    base = _extended(_read(target), target, (*seen, target))
    base.pop("name", None)
    return merge(base, content)


def apply_settings(content: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Override settings in a recipe's plain content.

    Args:
        content: A recipe as a mapping; it is not changed.
        settings: Strings such as `kap.kernel_size=5`, `kap.select.stages=[0,1]` or `training.epochs=3`. The
            first part is an operation of the recipe (all of that name; `kap#2` is the second), or `training`,
            `data` or `evaluation`. The value is read as YAML.

    Returns:
        The new content.

    Raises:
        RecipeError: A setting is not of this form, the recipe has no such operation, or one setting is given
            two values. `kap.…` for all and then `kap#2.…` for one of them is no contradiction.

    Examples:
        >>> apply_settings({"surgery": [{"op": "kap"}]}, ["kap.kernel_size=5"])
        {'surgery': [{'op': 'kap', 'kernel_size': 5}]}
    """
    content = copy.deepcopy(content)
    said = Said()
    for setting in settings:
        key, equals, text = setting.partition("=")
        parts = key.strip().split(".")
        if not equals or len(parts) < 2:
            raise RecipeError(misplaced(setting, owners(o.get("op") for o in content.get("surgery", []))))
        try:
            value = strict_yaml.load(text)
        except strict_yaml.YamlError as error:
            raise RecipeError(
                f"setting {shown(setting)}: the value {shown(text)} cannot be read: {error.reason}"
            ) from None
        for target in _targets(content, parts[0], setting):
            said.add((id(target), *parts[1:]), value, setting, single="#" in parts[0])
        put(content, key.strip(), value, setting)
    return content


def put(content: dict[str, Any], key: str, value: Any, setting: str) -> None:
    """Set one setting, such as `kap.kernel_size`, in a recipe's plain content, in place.

    Args:
        content: The recipe as a mapping.
        key: The dotted key.
        value: The value.
        setting: The setting as the user wrote it, for error messages.

    Raises:
        RecipeError: The recipe has no such operation, or a part of the key has no keys of its own.
    """
    parts = key.split(".")
    for target in _targets(content, parts[0], setting):
        for part in parts[1:-1]:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise RecipeError(f"setting {setting!r}: {part!r} has no keys of its own")
        target[parts[-1]] = value


def owners(operations: Iterable[Any]) -> dict[str, Any]:
    """Return what can have settings: operations by name, and the other parts of a recipe.

    Args:
        operations: Names of operations; unknown ones are left out.

    Returns:
        The pydantic model of each.
    """
    found = {str(o): get(str(o)) for o in operations if o in names()}
    return {**found, **dict(zip(PARTS, (Training, Data, Evaluation), strict=True))}


def _targets(content: dict[str, Any], head: str, setting: str) -> list[dict[str, Any]]:
    """Return the mappings that the first part of a dotted key names."""
    if head in PARTS:
        if not isinstance(content.get(head), dict):
            content[head] = {}
        return [content[head]]
    name, _, number = head.partition("#")
    operations = [o for o in content.get("surgery", []) if isinstance(o, dict)]
    found = [o for o in operations if o.get("op") == name]
    if number:
        found = (
            found[int(number) - 1 : int(number)]
            if number.isdecimal() and number.isascii() and int(number)
            else []
        )
    if not found:
        valid = [*(str(o.get("op")) for o in operations), *PARTS]
        raise RecipeError(f"setting {shown(setting)}: the recipe has no {head!r}; {nearest(head, valid)}")
    return found


def _validate(content: dict[str, Any], place: str) -> Recipe:
    """Make a Recipe of plain content; errors name the place it came from."""
    try:
        surgery = content.get("surgery")
        if isinstance(
            surgery, (list, tuple)
        ):  # before the whole recipe, so that an error names the operation, not the list
            content = {**content, "surgery": tuple(_operation(item, n) for n, item in enumerate(surgery, 1))}
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{place}: {describe(error, Recipe)}") from None
    except SurgeonError as error:
        error.at(place)
        raise


def _operation(item: Any, number: int) -> Operation:
    """Make an operation of an item of `surgery`; errors name its number."""
    if isinstance(item, Operation):
        return item
    if not isinstance(item, Mapping):
        raise RecipeError(
            f"surgery holds {shown(item)} as number {number}, not a mapping such as {{op: kap}}"
        )
    return parse(item)


def _plain(recipe: Recipe) -> dict[str, Any]:
    """Return only what was set explicitly: an unset default may depend on a setting that is overridden."""
    return _with_names(recipe, recipe.model_dump(mode="json", exclude_unset=True))


def _with_names(recipe: Recipe, content: dict[str, Any]) -> dict[str, Any]:
    """Add the key `op` to each operation, which dumps without defaults leave out."""
    named = zip(content["surgery"], recipe.surgery, strict=True)
    content["surgery"] = [{"op": operation.name} | item for item, operation in named]
    return content


def dump(recipe: Recipe) -> str:
    """Write a recipe as YAML, which `load_recipe` reads back.

    Args:
        recipe: The recipe.

    Returns:
        The YAML text, without settings that have their defaults.
    """
    return strict_yaml.dump(_with_names(recipe, recipe.model_dump(mode="json", exclude_defaults=True)))


def schema() -> dict[str, Any]:
    """Return the JSON schema of recipe files, with every registered operation.

    Returns:
        The schema, draft 2020-12.
    """
    root = Recipe.model_json_schema()
    definitions = root.setdefault("$defs", {})
    definitions.pop("Operation", None)
    options = []
    for name in names():
        one = get(name).model_json_schema()
        definitions.update(one.pop("$defs", {}))
        one["required"] = sorted({*one.get("required", []), "op"})
        definitions[name] = one
        options.append({"$ref": f"#/$defs/{name}"})
    root["properties"]["surgery"]["items"] = {"oneOf": options}
    root["properties"]["extends"] = {
        "type": "string",
        "description": "a shipped recipe, or a file beside this one",
    }
    root.pop("required", None)  # a file is named after itself, and takes its surgery from what it extends
    root["anyOf"] = [{"required": ["surgery"]}, {"required": ["extends"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}
