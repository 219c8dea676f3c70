"""A setting that is given is not searched: what belongs to its search contradicts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def demand_one_way(settings: BaseModel, value: str, *of_search: str) -> None:
    """Check that settings as a person writes them do not give a value together with how to search it.

    The settings of a record name every field: they were checked when they were written. What has its default says
    nothing of the search.

    Args:
        settings: the settings.
        value: the name of the value.
        of_search: the names of what belongs to its search.

    Raises:
        ValueError: both are given; the message names them.

    Examples:
        >>> from surgeon.methods import parse
        >>> parse({"op": "meansparse", "alpha": 0.2, "budget": 0.02})  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ...
        surgeon.errors.RecipeError: operation 'meansparse': alpha=0.2 is given, and budget=0.02 is of its search: …
    """
    fields = type(settings).model_fields
    if getattr(settings, value) is None or settings.model_fields_set == {*fields}:
        return
    if asked := [
        f"{n}={getattr(settings, n):g}" for n in of_search if getattr(settings, n) != fields[n].default
    ]:
        verb = "is" if len(asked) == 1 else "are"
        raise ValueError(
            f"{value}={getattr(settings, value):g} is given, and {' and '.join(asked)} {verb} of its search: leave one "
            "or the other out"
        )
