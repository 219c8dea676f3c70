"""RECIPE with the settings of --set and of short options such as --epochs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from surgeon.cli.swapped import swapped
from surgeon.errors import RecipeError, nearest

if TYPE_CHECKING:
    from surgeon.recipe import Recipe


def load_recipes(recipe: str, settings: tuple[str, ...], model: str | None = None) -> list[Recipe]:
    """The recipes that RECIPE names, joined by '+', with the settings of --set.

    model: what stands beside it; where the two are swapped, the error says so.

    A setting of an operation goes to every recipe that has it (`kap#2` is the second one of them all), one of
    `training`, `data` or `evaluation` to the recipe whose part `surgeon run` uses: the last that has one.
    """
    from surgeon.recipe import load_recipe, owners
    from surgeon.spelling import misplaced, split

    try:
        recipes = [load_recipe(name) for name in split(recipe)]
    except RecipeError as error:
        raise swapped(recipe, model, error) from None
    given: list[list[str]] = [[] for _ in recipes]
    for setting in settings:
        head, dot, rest = setting.partition(".")
        if not dot or "=" in head:
            raise RecipeError(misplaced(setting, owners(o.name for r in recipes for o in r.surgery)))
        for place, own in _owners(recipes, head, setting):
            given[place].append(own + dot + rest)
    loaded = [load_recipe(one, its) for one, its in zip(recipes, given, strict=True)]
    here = click.get_current_context(silent=True)
    if here is not None and os.environ.get("RANK", "0") == "0":  # of a launcher's processes the first
        for sentence in of_other_parts(settings, here.info_name or ""):
            click.echo(f"{here.info_name}: {sentence}", err=True)
    return loaded


USED = {
    "training": ("train", "run", "study"),
    "data": ("train", "run", "study", "convert"),
    "evaluation": ("run", "study"),
}
"""The commands that use a part of a recipe."""


def of_other_parts(settings: Iterable[str], command: str) -> list[str]:
    """One sentence for each part of a recipe that a command does not use and that settings were given of."""
    remarks = []
    for part, used_by in USED.items():
        given = [s.strip() for s in settings if s.strip().startswith(f"{part}.")]
        if given and command not in (*used_by, "show"):
            verb, it = ("changes", "it") if len(given) == 1 else ("change", "them")
            others = " and ".join(f"`surgeon {c}`" for c in used_by)
            remarks.append(
                f"{' and '.join(given)} {verb} nothing: `surgeon {command}` does not use {it}; {others} do"
            )
    return remarks


def _owners(recipes: list[Recipe], head: str, setting: str) -> list[tuple[int, str]]:
    """Which recipes a setting is for, and what its operation is called in each."""
    from surgeon.recipe import PARTS

    if head in PARTS:
        having = [i for i, r in enumerate(recipes) if getattr(r, head)]
        return [(having[-1] if having else len(recipes) - 1, head)]
    name, numbered, number = head.partition("#")
    every = [
        (i, f"{name}#{n}")
        for i, r in enumerate(recipes)
        for n, _ in enumerate((o for o in r.surgery if o.name == name), 1)
    ]
    if numbered:
        places = (
            every[int(number) - 1 : int(number)]
            if number.isdecimal() and number.isascii() and int(number)
            else []
        )
    else:
        places = [(i, name) for i in sorted({i for i, _ in every})]
    if not places:
        valid = [*(o.name for r in recipes for o in r.surgery), *PARTS]
        raise RecipeError(f"setting {setting!r}: the recipe has no {head!r}; {nearest(head, valid)}")
    return places


def all_settings(settings: tuple[str, ...], given: dict[str, Any]) -> tuple[str, ...]:
    """The settings of --set, and the short forms, which are taken out of `given`.

    Raises RecipeError for one that is said twice.
    """
    short = {f"training.{k}": given.pop(k) for k in ("epochs", "lr", "batch_size")}
    said = {s.partition("=")[0].strip(): s for s in settings}
    for key, value in short.items():
        if value is not None and key in said:
            option = "--" + key.removeprefix("training.").replace("_", "-")
            raise RecipeError(f"{option} {value} and --set {said[key]} are of one setting: leave one out")
    return (*settings, *(f"{k}={v}" for k, v in short.items() if v is not None))


def said_once(settings: tuple[str, ...], names: tuple[str, ...], part: str = "evaluation") -> None:
    """Refuse a setting of a part of the recipe that has an option of its own and is also given by --set.

    Raises RecipeError that names both.
    """
    here = click.get_current_context()
    said = {s.partition("=")[0].strip().removeprefix(f"{part}."): s for s in settings}
    for name in names:
        if name in said and here.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise RecipeError(f"--{name} and --set {said[name]} are of one setting: leave one out")
