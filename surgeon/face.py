"""What a newcomer asks for first: which recipes and operations there are, and how sites are chosen. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from surgeon import html
from surgeon.errors import RecipeError, SelectionError
from surgeon.methods.registry import describe, get, names
from surgeon.recipe import load_recipe, shipped
from surgeon.selection import Selector


class Listing(dict[str, str]):
    """Names, each with one line of what it is; shown as a table."""

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:{width}}  {line}" for name, line in self.items())

    def _repr_html_(self) -> str:
        return html.table(self.items(), head=("name", "what it does"))


def recipes() -> Listing:
    """The shipped recipes: name → what it does. `surgeon.load_recipe(name)` shows one in full.

    surgeon.recipes()["kap"]
    """
    return Listing({name: load_recipe(name).title for name in shipped()})


def operations() -> Listing:
    """The operations that recipes are made of, those of other packages too: name → what it does.

    `surgeon.methods.get(name)` is the class, whose fields are the settings.

        surgeon.operations()["kap"]
    """
    return Listing({name: _line(name) for name in names()})


def _line(name: str) -> str:
    try:
        found = get(name)
    except RecipeError as error:
        return str(error)
    except Exception as error:  # another package's code, which runs when it is imported
        return f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return next(iter((found.__doc__ or "").strip().splitlines()), "")


def select(
    include: str | Sequence[str] = ("**",),
    exclude: str | Sequence[str] = (),
    *,
    stages: Sequence[int] | None = None,
    channels: str | None = None,
    min_channels: int | None = None,
    max_channels: int | None = None,
    kernel: str | None = None,
    groups: str | None = None,
    skip_first: int = 0,
    skip_last: int = 0,
    first: int | None = None,
    last: int | None = None,
    every: int = 1,
    offset: int = 0,
) -> Selector:
    """Which sites an operation works on: the value of its setting `select`. The conditions apply in this order.

        surgeon.apply(model, "kap", select=surgeon.select("layer1.**", kernel=">1"))

    include, exclude: globs on dotted names; `*` stays inside one part, `**` spans any number. stages: by number, the stem is 0.
    channels, kernel, groups: conditions such as ">=16" or "1" (the kernel's largest side counts). first, last: so many are kept;
    skip_first, skip_last: so many are left out; every, offset: each `every`-th from `offset` on; all in the order of execution.

    Raises SelectionError for values that are none.
    """
    given: dict[str, Any] = {
        "include": include, "exclude": exclude, "stages": stages, "channels": channels, "min_channels": min_channels,
        "max_channels": max_channels, "kernel": kernel, "groups": groups, "skip_first": skip_first, "skip_last": skip_last,
        "first": first, "last": last, "every": every, "offset": offset,
    }  # fmt: skip
    said = {k: v for k, v in given.items() if v != Selector.model_fields[k].default}
    try:
        return Selector.model_validate(said)
    except ValidationError as error:
        raise SelectionError(f"select: {describe(error, Selector)}") from None
