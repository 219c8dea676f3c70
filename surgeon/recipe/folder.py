"""The recipes that come with surgeon, by name."""

from __future__ import annotations

from pathlib import Path

from surgeon.errors import RecipeError


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes, in an installed package or beside it in a checkout.

    Returns:
        The folder.

    Raises:
        RecipeError: There is none.
    """
    package = Path(__file__).parents[1]
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
