"""Recipes by name: the shipped ones, and those of other packages after them."""

from __future__ import annotations

from pathlib import Path

from surgeon.errors import RecipeError
from surgeon.recipe.folder import recipe_folder, shipped
from surgeon.recipe.plugged import plugged
from surgeon.spelling import known


def available() -> tuple[str, ...]:
    """List the names of all recipes.

    Returns:
        The names of the shipped recipes, sorted, and those of other packages' after them, sorted too.

    Examples:
        >>> available()[:2]
        ('advprop', 'anl')
    """
    own = shipped()
    return (*own, *sorted({f.stem for f in plugged() if known(f.stem, own) is None}))


def file_of(name: str) -> Path | None:
    """Find the file of a recipe.

    Args:
        name: Its name; case and the kind of dash do not matter.

    Returns:
        The file; None if no recipe has this name.

    Raises:
        RecipeError: Several have it.
    """
    own = known(name, shipped())
    candidates = {recipe_folder() / f"{own}.yaml": "surgeon"} if own else {}
    candidates |= {file: package for file, package in plugged().items() if known(name, [file.stem])}
    if len(candidates) > 1:
        places = " and ".join(f"{package} ({file})" for file, package in candidates.items())
        raise RecipeError(
            f"the recipe {name!r} is in {places}; rename one, uninstall its package, or give the path of a file"
        )
    return next(iter(candidates), None)
