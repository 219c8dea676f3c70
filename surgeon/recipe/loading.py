"""A recipe from a name, a YAML file or a mapping, with what it extends and the settings over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from surgeon.errors import RecipeError, SurgeonError, line_of
from surgeon.markdown import plain
from surgeon.merging import merge
from surgeon.methods.base import Operation
from surgeon.methods.registry import describe, names, parse
from surgeon.recipe.folder import shipped
from surgeon.recipe.named import available, file_of
from surgeon.recipe.overriding import apply_settings
from surgeon.recipe.plugged import check, plugged
from surgeon.recipe.recipe import Recipe
from surgeon.recipe.retelling import retold
from surgeon.recipe.writing import with_names
from surgeon.spelling import unknown
from surgeon.strict import shown
from surgeon.strict_yaml import mapping_in

_LONGEST_CHAIN = 20


def load_recipe(
    recipe: str | PathLike[str] | Mapping[str, Any] | Recipe, settings: Iterable[str] = ()
) -> Recipe:
    """Load a recipe from a name, a YAML file or a mapping, and override settings.

    Names are those of the shipped recipes and of installed packages' (entry points in the group
    `surgeon.recipes`). A file may `extends:` another, by a name or by a path relative to its own folder. Mappings are
    merged key by key, and the n-th operation of a name with the n-th of that name; operations that the
    extended recipe lacks are appended. A recipe without a name is named after its file, or after the
    operations of a mapping. A title or source that comes from the extended recipe, or was there before
    `settings`, names the settings that are others.

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
        return recipe if not settings else _validate(_with_settings(_plain(recipe), settings), recipe.name)
    if isinstance(recipe, Mapping):
        try:
            content = _extended(dict(recipe), None, ())
            content.setdefault("name", _name(content))
            return _validate(_with_settings(content, settings), plain(content["name"], 80))
        except RecursionError:
            raise RecipeError("the recipe is nested too deep to be one") from None
    path = _find(recipe)
    content = mapping_in(path, "surgery")
    content.setdefault("name", path.stem)
    return _validate(_with_settings(_extended(content, path, (path,)), settings), str(path.name))


def listed() -> dict[str, Recipe]:
    """Load every recipe that has a name.

    Returns:
        The recipes by name: the shipped ones, then those of other packages.

    Raises:
        RecipeError: A recipe is malformed, two have one name, or a package's folder of recipes is missing.

    Examples:
        >>> next(iter(listed()))
        'advprop'
    """
    check()
    return {name: load_recipe(name) for name in available()}


def surveyed() -> tuple[dict[str, Recipe], dict[str, str]]:
    """Load every recipe that has a name, and go on where one of another package cannot be.

    Returns:
        The recipes by name, and of those of other packages that cannot be loaded the package and the reason.

    Raises:
        RecipeError: A shipped recipe is malformed, two have one name, or a package's folder of recipes is missing.
    """
    check()
    loaded: dict[str, Recipe] = {}
    bad: dict[str, str] = {}
    packages = {file.stem: package for file, package in plugged().items()}
    for name in available():
        file_of(name)  # two packages with one name are not a recipe's fault
        try:
            loaded[name] = load_recipe(name)
        except SurgeonError as error:
            if name not in packages:
                raise
            bad[name] = f"of the package {packages[name]}, cannot be used: {line_of(error)}"
    return loaded, bad


def _name(content: Mapping[str, Any]) -> str:
    """Name a recipe after its operations."""
    surgery = content.get("surgery")
    named = [str(o.get("op")) for o in surgery if isinstance(o, Mapping)] if isinstance(surgery, list) else []
    return "+".join(named) or "recipe"


def _find(recipe: str | PathLike[str]) -> Path:
    """Return the file of a recipe given by name or path."""
    text = str(recipe)
    path = Path(recipe)
    if _is_path(text):
        if not path.is_file():
            raise RecipeError(unknown(plain(text, 200), available()))
        return path
    file = file_of(text)
    if file is None:
        check()
        using = [n for n in shipped() if text in names() and text in [o.name for o in load_recipe(n).surgery]]
        raise RecipeError(unknown(text, available(), using))
    return file


def _is_path(text: str) -> bool:
    """Whether a text is the path of a recipe's file, and no recipe's name."""
    return text.endswith((".yaml", ".yml")) or "/" in text


def _extended(content: dict[str, Any], path: Path | None, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Merge a recipe into the one that it extends."""
    parent = content.pop("extends", None)
    if parent is None:
        return content
    text = str(parent)
    beside = path.parent / text if path is not None else None
    # As at the command line, the name of a recipe is that recipe, whatever file is called so.
    known = not _is_path(text) and file_of(text) is not None
    target = beside if beside is not None and beside.is_file() and not known else _find(text)
    if target.resolve() in [p.resolve() for p in seen]:
        chain = " → ".join(p.name for p in (*seen, target))
        raise RecipeError(f"recipes extend one another in a circle: {chain}")
    if len(seen) > _LONGEST_CHAIN:
        raise RecipeError(f"{seen[0]} extends a chain of more than {_LONGEST_CHAIN} recipes")
    base = _extended(mapping_in(target, "surgery"), target, (*seen, target))
    base.pop("name", None)
    merged = merge(base, content)
    words = _retold(base, merged)
    return {**merged, **{key: text for key, text in words.items() if key not in content}}


def _with_settings(content: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Set settings in a recipe's plain content, and have its title and source say so."""
    changed = apply_settings(content, settings)
    return {**changed, **_retold(content, changed)}


def _retold(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """The title and source of changed content; empty where it is not a recipe, which is told when it is validated."""
    whole = _whole(now)
    return {} if whole is None else retold(_whole(before) or before, whole)


def _whole(content: dict[str, Any]) -> dict[str, Any] | None:
    """A recipe's plain content with all defaults; None if it is not a recipe by itself."""
    try:
        return _validate({"name": "recipe", **content}, "").model_dump(mode="json")
    except SurgeonError:
        return None


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


def _operation(item: object, number: int) -> Operation:
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
    return with_names(recipe, recipe.model_dump(mode="json", exclude_unset=True))
