"""Recipes of other packages: folders of YAML files that entry points name. Nothing of a package is imported.

A package adds its own with an entry point in the group `surgeon.recipes`, the dotted name of a folder in it:

    [project.entry-points."surgeon.recipes"]
    my_package = "my_package.recipes"
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from surgeon.errors import RecipeError
from surgeon.strict import shown

GROUP = "surgeon.recipes"


@functools.cache
def _points() -> tuple[tuple[str, str], ...]:
    """Return the package and the dotted name of each entry point, sorted."""
    points = entry_points(group=GROUP)
    return tuple(sorted({(p.dist.name if p.dist else p.name, p.value) for p in points}))


def plugged() -> dict[Path, str]:
    """List the recipe files of other packages. A folder that is missing holds no recipes; `check` tells of it.

    Returns:
        The package by file, sorted by package and name.
    """
    return {
        file: package
        for package, dotted in _points()
        for folder in _folders(dotted)
        for file in sorted(folder.iterdir())
        if file.suffix in (".yaml", ".yml") and not file.name.startswith(".")
    }


def check() -> None:
    """Look for the folder of each entry point.

    Raises:
        RecipeError: One of them is missing.
    """
    for package, dotted in _points():
        if not _folders(dotted):
            raise RecipeError(
                f"the entry point {GROUP} of the package {package} names {shown(dotted)}, and no such folder is "
                "installed; it takes the dotted name of a folder inside a package, such as my_package.recipes"
            )


def _folders(dotted: str) -> list[Path]:
    """Find a folder by its dotted name: one, or for a package in several places as many as have it."""
    top, *inner = dotted.split(".")
    if not all(part.isidentifier() for part in (top, *inner)):
        return []
    try:
        spec = find_spec(top)  # of a top-level name: looks for it, and runs nothing of it
    except (ImportError, ValueError):
        return []
    places = (spec.submodule_search_locations if spec else None) or ()
    return [folder for place in places if (folder := Path(place, *inner)).is_dir()]
