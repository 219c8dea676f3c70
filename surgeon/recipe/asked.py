"""Turn a recipe, in any of its forms, into operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from surgeon.edits import Plan
from surgeon.errors import RecipeError
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from surgeon.recipe.loading import load_recipe
from surgeon.recipe.recipe import Recipe
from surgeon.spelling import split

RecipeLike = str | Recipe | Operation | PathLike[str] | Mapping[str, Any] | Sequence["RecipeLike"]


def operations_of(recipe: RecipeLike) -> tuple[str, list[Operation]]:
    """Return the name and the operations of a recipe.

    Args:
        recipe: A name, file, Recipe, Operation, mapping, or a list of these.

    Returns:
        The name (several joined by '+'), and the operations in order.

    Raises:
        RecipeError: The recipe is unknown or malformed, or of another type.
    """
    if isinstance(recipe, Operation):
        return recipe.name, [recipe]
    if isinstance(recipe, Mapping) and "op" in recipe:
        operation = parse(recipe)
        return operation.name, [operation]
    if isinstance(recipe, str) and "+" in recipe and not Path(recipe).is_file():
        recipe = split(recipe)
    if isinstance(recipe, (str, Recipe, Mapping)) or hasattr(recipe, "__fspath__"):
        loaded = load_recipe(recipe)
        return loaded.name, list(loaded.surgery)
    if isinstance(recipe, Iterable):
        parts = [operations_of(r) for r in recipe]
        return "+".join(t for t, _ in parts), [o for _, operations in parts for o in operations]
    raise RecipeError(
        f"a recipe is a name, a file, a Recipe, an Operation, a mapping or a list of these, not {type(recipe).__name__}"
    )


def keyed(operations: Sequence[Operation], previous: Plan | None) -> dict[str, Operation]:
    """Give operations the keys that the record uses: their names, numbered ('kap#2') if a name occurs twice.

    Args:
        operations: The operations, in order.
        previous: The record of earlier surgery, whose keys are taken, or None.

    Returns:
        The operations by key.

    Raises:
        RecipeError: There are no operations.
    """
    if not operations:
        raise RecipeError(
            "the recipe has no operation in its surgery part; `surgeon train` and `surgeon run` take it as it is"
        )
    by_key: dict[str, Operation] = {}
    used = dict.fromkeys(previous.operations if previous else ())
    for operation in operations:
        key, number = operation.name, 2
        while key in by_key or key in used:
            key, number = f"{operation.name}#{number}", number + 1
        by_key[key] = operation
    return by_key
