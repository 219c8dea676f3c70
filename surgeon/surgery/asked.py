"""What surgery is asked for: a recipe in any of its forms, as operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from surgeon.edits import Plan
from surgeon.errors import RecipeError
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from surgeon.recipe import Recipe, load_recipe
from surgeon.spelling import split

RecipeLike = str | Recipe | Operation | PathLike[str] | Mapping[str, Any] | Sequence["RecipeLike"]


def operations_of(recipe: RecipeLike) -> tuple[str, list[Operation]]:
    """The name of what is asked for, and its operations. Raises RecipeError, also for what is no recipe."""
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
        return "+".join(t for t, _ in parts), [o for _, found in parts for o in found]
    raise RecipeError(
        f"a recipe is a name, a file, a Recipe, an Operation, a mapping or a list of these, not {type(recipe).__name__}"
    )


def keyed(operations: Sequence[Operation], previous: Plan | None) -> dict[str, Operation]:
    """The operations by the keys that they get in the record: their names, numbered where one stands twice."""
    if not operations:
        raise RecipeError(
            "the recipe has no operation in its surgery part; `surgeon train` and `surgeon run` take it as it is"
        )
    found: dict[str, Operation] = {}
    used = dict.fromkeys(previous.operations if previous else ())
    for operation in operations:
        key, number = operation.name, 2
        while key in found or key in used:
            key, number = f"{operation.name}#{number}", number + 1
        found[key] = operation
    return found
