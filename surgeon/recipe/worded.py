"""Settings given beside a recipe, as keywords or as a mapping."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from surgeon.errors import RecipeError, nearest
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from surgeon.recipe.overriding import put
from surgeon.said import Said
from surgeon.spelling import places
from surgeon.strict import shown

OWN = (
    "input_size",
    "seed",
    "trained",
    "calibration",
    "calibrated",
    "copy",
    "stack",
    "seen",
    "warm_start",
    "settings",
)
"""Arguments of `plan` and `apply`, which take precedence over settings of the same name."""


def with_settings(
    operations: Sequence[Operation], settings: Mapping[str, Any] | None, words: Mapping[str, Any]
) -> list[Operation]:
    """Return the operations with other settings, validated as those of a recipe file are.

    Args:
        operations: The operations.
        settings: Setting → value. A key is a field (`kernel_size`), or names the operation
            (`kap.kernel_size`, `kap#2.select.stages`), which is needed for a setting that several operations
            have.
        words: The same as keywords, without dots.

    Returns:
        The operations, in order.

    Raises:
        RecipeError: No operation has a setting (the nearest are given), several have it, it is given two
            values, under whatever names, or its value is invalid.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise RecipeError(f"settings={shown(settings)} must be a mapping, such as {{'kernel_size': 5}}")
    given = [*(settings or {}).items(), *words.items()]
    if not given:
        return list(operations)
    twice = sorted(set(settings or {}) & set(words))
    if twice:
        raise RecipeError(f"{twice[0]} is said as a keyword and in settings: leave one out")
    # Only what was set explicitly: an unset default may depend on a setting that is overridden.
    dumped = [{"op": o.name} | o.model_dump(mode="json", exclude_unset=True) for o in operations]
    content: dict[str, Any] = {"surgery": dumped}
    said = Said()
    for key, value in given:
        place = _place(str(key), operations)
        put(content, place, _plain(value), f"{key}={shown(value)}", said)
    return [parse(one) for one in dumped]


def _place(key: str, operations: Sequence[Operation]) -> str:
    """Return the full name of a setting, such as `kap.kernel_size`."""
    names = [o.name for o in operations]
    head, dot, _ = key.partition(".")
    if dot and head.partition("#")[0] in names:
        return key
    if dot:
        raise RecipeError(
            f"setting {shown(key)}: the recipe has no operation {head!r}; {nearest(head, names)}"
        )
    knowing = [n for n, o in enumerate(operations) if key != "op" and places(key, {o.name: type(o)})]
    if not knowing:
        raise RecipeError(f"no operation of the recipe has a setting {key!r}; {_nearest(key, operations)}")
    if len(knowing) > 1:
        full_names = [f"{_numbered(names, n)}.{key}" for n in knowing]
        raise RecipeError(
            (
                f"{len(knowing)} operations of the recipe have a setting {key!r}: say whose, "
                f"settings={{'{full_names[0]}': …}} or "
            )
            + " or ".join(f"'{s}'" for s in full_names[1:])
        )
    return places(key, {names[knowing[0]]: type(operations[knowing[0]])})[0]


def _nearest(key: str, operations: Sequence[Operation]) -> str:
    """Name the settings and arguments nearest to an unknown key."""
    known: Collection[str] = {f for o in operations for f in type(o).model_fields} - {"op"}
    return nearest(key, {*known, *OWN})


def _numbered(names: Sequence[str], place: int) -> str:
    """Name an operation as settings do: `kap`, or `kap#2` for the second of that name."""
    name = names[place]
    return name if names.count(name) == 1 else f"{name}#{names[: place + 1].count(name)}"


def _plain(value: object) -> object:
    """Turn a Selector, or another group of settings, into the mapping that a file has."""
    return value.model_dump(mode="json", exclude_unset=True) if hasattr(value, "model_dump") else value
