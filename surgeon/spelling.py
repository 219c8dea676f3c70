"""How recipes and their settings are written, and what a misspelt one may have meant. No torch here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from surgeon.errors import RecipeError, nearest


def split(recipe: str) -> list[str]:
    """Split a text of recipes joined by '+' into names and files.

    Args:
        recipe: the text.

    Raises:
        RecipeError: a name is empty.

    Examples:
        >>> split("small-image + kap")
        ['small-image', 'kap']
    """
    if Path(recipe).is_file():
        return [recipe]
    names = [part.strip() for part in recipe.split("+")]
    if not all(names):
        raise RecipeError(f"{recipe!r} joins an empty name; write for instance small-image+kap")
    return names


def known(recipe: str, names: Collection[str]) -> str | None:
    """Find the recipe that a name refers to, ignoring case and the kind of dash.

    Args:
        recipe: the name.
        names: the names of all recipes.

    Returns:
        The name as it stands among them; None if it is not among them.
    """
    return next((n for n in names if _alike(n) == _alike(recipe)), None)


def _alike(name: str) -> str:
    return name.lower().replace("_", "-")


def unknown(recipe: str, names: Collection[str], using: Collection[str] = ()) -> str:
    """The message for an unknown recipe or a missing file.

    Args:
        recipe: the name or file.
        names: the names of all recipes.
        using: recipes with an operation of this name.
    """
    parts = [known(p, names) for p in re.split(r"[\s,;&|/]+", recipe) if p]
    if len(parts) > 1 and all(parts):
        return f"unknown recipe {recipe!r}; recipes are joined by '+': {'+'.join(map(str, parts))}"
    if using:
        return f"{recipe!r} is an operation; recipes with it are {', '.join(using)}"
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        return (
            f"recipe file {recipe} does not exist; {nearest(path.stem, names)} Shipped ones are "
            "named without .yaml"
        )
    if "/" in recipe:
        return f"recipe file {recipe} does not exist"
    return f"unknown recipe {recipe!r}; {nearest(recipe, names)}"


def places(key: str, owners: Mapping[str, Any]) -> list[str]:
    """Where a setting exists, as `kap.kernel_size`.

    Args:
        key: the setting's name.
        owners: names of operations and parts → their pydantic models.

    Examples:
        >>> from surgeon.recipe import Training
        >>> places("batch-size", {"training": Training})
        ['training.batch_size']
    """
    key = key.strip().lstrip("-").replace("-", "_")
    return [f"{owner}.{key}" for owner, model in owners.items() if key in model.model_fields]


def misplaced(setting: str, owners: Mapping[str, Any]) -> str:
    """The message for a setting without the operation or part that it belongs to, or without a value.

    Args:
        setting: the text.
        owners: as for `places`.
    """
    key, equals, value = setting.partition("=")
    spellings = [f"{place}={value or 'VALUE'}" for place in places(key, owners)] if "." not in key else []
    if spellings:
        return f"setting {setting!r} does not say what it is of; write {' or '.join(spellings)}"
    like = f", as {key.strip()}=VALUE" if "." in key and not equals else ""
    return f"setting {setting!r} must look like operation.key=value{like}"
