"""List the recipes and operations, and select sites: what a new user asks for first. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from surgeon import html
from surgeon.errors import RecipeError, SelectionError
from surgeon.methods.registry import clashes, describe, get, names
from surgeon.recipe import listed
from surgeon.selection import Selector


class Listing(dict[str, str]):
    """A mapping from names to one-line descriptions, displayed as a table."""

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:{width}}  {line}" for name, line in self.items())

    def _repr_html_(self) -> str:
        return html.table(self.items(), head=("name", "what it does"))


def recipes() -> Listing:
    """List the recipes: the shipped ones, then those of other packages. `surgeon.load_recipe(name)` shows one in full.

    Returns:
        A mapping from name to title, displayed as a table.

    Raises:
        RecipeError: A recipe folder is missing, a recipe is malformed, or two have one name.

    Examples:
        >>> import surgeon
        >>> "kap" in surgeon.recipes()
        True
    """
    return Listing({name: recipe.title for name, recipe in listed().items()})


def operations() -> Listing:
    """List the operations that recipes are made of, including those of other packages.

    `surgeon.methods.get(name)` is an operation's class, whose fields are its settings.

    Returns:
        A mapping from name to one-line description, displayed as a table. A plug-in that cannot be imported
        is listed with its error.

    Examples:
        >>> import surgeon
        >>> "kap" in surgeon.operations()
        True
    """
    lines = {name: _line(name) for name in names() if name not in clashes()}
    return Listing(dict(sorted({**lines, **clashes()}.items())))


def _line(name: str) -> str:
    """Return the first line of an operation's docstring, or why it cannot be imported."""
    try:
        operation = get(name)
    except RecipeError as error:
        return str(error)
    except Exception as error:  # another package's code, which runs when it is imported
        return f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return next(iter((operation.__doc__ or "").strip().splitlines()), "")


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
    """Choose the sites that an operation works on; the value of every operation's setting `select`.

    The conditions apply in the order of the arguments.

    Args:
        include: Globs on dotted names: `*` stays within one part, `**` spans any number of parts. Default:
            all.
        exclude: Globs of sites to leave out.
        stages: Stage numbers to keep; the stem is stage 0.
        channels: A condition on output channels, such as ">=16", "!=3" or "64".
        min_channels: Least number of output channels.
        max_channels: Largest number of output channels.
        kernel: A condition on the kernel's largest side, such as ">1".
        groups: A condition on the number of groups, such as "1".
        skip_first: Drop this many sites at the start, in execution order.
        skip_last: Drop this many sites at the end.
        first: Keep only this many sites from the start.
        last: Keep only this many sites from the end.
        every: Keep each `every`-th of the remaining sites.
        offset: Index of the first site that `every` keeps.

    Returns:
        The selector.

    Raises:
        SelectionError: A value is invalid.

    Examples:
        >>> import surgeon
        >>> wide = surgeon.select("features.*", channels=">=64", first=1)
        >>> plan = surgeon.plan(surgeon.create_model("zoo/shallow2"), "kap", select=wide)
        >>> [edit.site for edit in plan.edits if edit.layer.endswith(".kap")]
        ['features.conv1']
    """
    given: dict[str, Any] = {
        "include": include,
        "exclude": exclude,
        "stages": stages,
        "channels": channels,
        "min_channels": min_channels,
        "max_channels": max_channels,
        "kernel": kernel,
        "groups": groups,
        "skip_first": skip_first,
        "skip_last": skip_last,
        "first": first,
        "last": last,
        "every": every,
        "offset": offset,
    }
    conditions = {k: v for k, v in given.items() if v != Selector.model_fields[k].default}
    try:
        return Selector.model_validate(conditions)
    except ValidationError as error:
        raise SelectionError(f"select: {describe(error, Selector)}") from None
