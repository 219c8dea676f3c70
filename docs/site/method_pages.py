"""The pages of the methods: of a room without one of its own it is made from what the room says of itself.

A page in `docs/methods/` tells more where there is more to tell; a row in `docs/methods/index.md` that is there stays
as it is.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import public

FOLDER = Path(__file__).parents[1] / "methods"


def path(room: str) -> str:
    """Where a method's page lies."""
    return f"methods/{room}.md"


def missing() -> dict[str, str]:
    """The pages of the rooms without a page of their own: path → text."""
    return {path(room): page(room) for room in public.ROOMS if not (FOLDER / f"{room}.md").is_file()}


def page(room: str) -> str:
    """A method's page: its room's own text, its recipes, and where its names are."""
    package = f"surgeon.methods.{room}"
    links = ", ".join(f"[{name}](../recipes.md#{name})" for name in recipes(room)) or "none"
    return "\n".join(
        (
            f"# {title(room)}",
            "",
            f"::: {package}",
            "    options: {members: false, show_root_heading: false, show_root_toc_entry: false}",
            "",
            f"Recipes: {links}. In Python: [{package}](../reference/{package}.md). What of a trained network is "
            "kept, and what folds: [Methods](index.md).",
            "",
        )
    )


def title(room: str) -> str:
    """What a room calls its method: its first line up to the colon."""
    return _said(room).partition(":")[0]


def recipes(room: str) -> list[str]:
    """The shipped recipes whose surgery begins with an operation of a room."""
    from surgeon.recipe import load_recipe, shipped

    inside = f"surgeon.methods.{room}."
    return [
        name
        for name in shipped()
        if (surgery := load_recipe(name).surgery) and f"{type(surgery[0]).__module__}.".startswith(inside)
    ]


def with_rows(text: str) -> str:
    """The overview with a row for each room that it does not link to, at the end of its first table."""
    rows = [
        f"| [{title(room)}]({room}.md) | {_said(room).partition(':')[2].strip().rstrip('.')} |"
        for room in public.ROOMS
        if f"]({room}.md)" not in text
    ]
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    end = next((i for i in range(head, len(lines)) if not lines[i].startswith("|")), len(lines))
    return "\n".join([*lines[:end], *rows, *lines[end:]]) + "\n"


def _said(room: str) -> str:
    """The first line of what a room says of itself."""
    return (importlib.import_module(f"surgeon.methods.{room}").__doc__ or room).strip().splitlines()[0]
