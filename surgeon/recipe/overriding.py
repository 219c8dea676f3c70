"""Settings such as `kap.kernel_size=5` over a recipe's plain content."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from surgeon import strict_yaml
from surgeon.errors import RecipeError, nearest
from surgeon.methods.registry import get, names
from surgeon.recipe.evaluation import Evaluation
from surgeon.recipe.images import Data
from surgeon.recipe.recipe import PARTS
from surgeon.recipe.training import Training
from surgeon.said import Said
from surgeon.spelling import misplaced
from surgeon.strict import shown


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
        put(content, key.strip(), value, setting, said)
    return content


def put(content: dict[str, Any], key: str, value: object, setting: str, said: Said) -> None:
    """Set one setting, such as `kap.kernel_size`, in a recipe's plain content, in place.

    Args:
        content: The recipe as a mapping.
        key: The dotted key.
        value: The value.
        setting: The setting as the user wrote it, for error messages.
        said: The settings that were put there before; this one is noted too.

    Raises:
        RecipeError: The recipe has no such operation, a part of the key has no keys of its own, or another setting
            says another value.
    """
    parts = key.split(".")
    for target in _targets(content, parts[0], setting):
        said.add((id(target), *parts[1:]), value, setting, single="#" in parts[0])
        for part in parts[1:-1]:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise RecipeError(f"setting {setting!r}: {part!r} has no keys of its own")
        target[parts[-1]] = copy.deepcopy(value)  # each its own: a further setting may add to it


def owners(operations: Iterable[Any]) -> dict[str, Any]:
    """Return what can have settings: operations by name, and the other parts of a recipe.

    Args:
        operations: Names of operations; unknown ones are left out.

    Returns:
        The pydantic model of each.
    """
    by_name = {str(o): get(str(o)) for o in operations if o in names()}
    return {**by_name, **dict(zip(PARTS, (Training, Data, Evaluation), strict=True))}


def _targets(content: dict[str, Any], head: str, setting: str) -> list[dict[str, Any]]:
    """Return the mappings that the first part of a dotted key names."""
    if head in PARTS:
        if not isinstance(content.get(head), dict):
            content[head] = {}
        return [content[head]]
    name, _, number = head.partition("#")
    operations = [o for o in content.get("surgery", []) if isinstance(o, dict)]
    matching = [o for o in operations if o.get("op") == name]
    if number:
        matching = (
            matching[int(number) - 1 : int(number)]
            if number.isdecimal() and number.isascii() and int(number)
            else []
        )
    if not matching:
        valid = [*(str(o.get("op")) for o in operations), *PARTS]
        raise RecipeError(f"setting {shown(setting)}: the recipe has no {head!r}; {nearest(head, valid)}")
    return matching
