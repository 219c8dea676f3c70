"""A recipe that stands where a model belongs, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import click

from surgeon.errors import ModelError, RecipeError


def swapped(recipe: str, model: str | None, error: RecipeError) -> RecipeError:
    """The error, or if MODEL is a recipe, that it is."""
    from surgeon.recipe import load_recipe
    from surgeon.spelling import split

    if model is None:
        return error
    try:
        for name in split(model):
            load_recipe(name)
    except RecipeError:
        return error
    said = click.get_current_context().command.name
    return RecipeError(
        f"{model} is a recipe, and {recipe} is not; the recipe comes first: surgeon {said} {model} {recipe}"
    )


def refuse_recipe(target: str) -> None:
    """Raise ModelError where a recipe stands for a model."""
    from surgeon.recipe import shipped
    from surgeon.spelling import known

    if known(target, shipped()) and not Path(target).exists():
        raise ModelError(
            f"{target} is a recipe, no model: surgeon plan {target} MODEL shows what it does, surgeon run uses it"
        )
