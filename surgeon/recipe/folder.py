"""The recipes that come with surgeon, by name."""

from __future__ import annotations

from pathlib import Path

from surgeon.disk.shipped import PACKAGE, shipped_folder
from surgeon.errors import RecipeError


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes, in an installed package or beside it in a checkout.

    Returns:
        The folder.

    Raises:
        RecipeError: There is no such folder.
    """
    shipped = shipped_folder("recipes")
    if shipped is None:
        raise RecipeError(
            f"the shipped recipes are missing: neither {PACKAGE / 'recipes'} nor a checkout's recipes folder exists"
        )
    return shipped


def shipped() -> tuple[str, ...]:
    """List the names of the shipped recipes.

    Returns:
        The names, sorted.

    Examples:
        >>> "kap" in shipped()
        True
    """
    return tuple(sorted(p.stem for p in recipe_folder().glob("*.yaml")))
