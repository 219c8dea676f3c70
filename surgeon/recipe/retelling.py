"""What a recipe says of itself where settings were changed: title and source were written of the old ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from surgeon.markdown import plain
from surgeon.merging import merge
from surgeon.recipe.evaluation import Evaluation
from surgeon.recipe.images import Data
from surgeon.recipe.recipe import PARTS, TEXT_LENGTH, Recipe
from surgeon.recipe.training import Training

_MOST, _LONGEST = 6, 60
_PROSE = ("title", "paper", "source")
_KINDS = dict(zip(PARTS, (Training, Data, Evaluation), strict=True))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """List the settings that differ between two recipes, as `key=value` of the second.

    Args:
        before: A recipe as plain data.
        now: Another one, with the operations of the first and perhaps more.

    Returns:
        The settings as `--set` takes them, in the recipe's order; an operation that is new by its name.

    Examples:
        >>> changes({"surgery": [{"op": "kap"}]}, {"surgery": [{"op": "kap", "sigma": 0.2}, {"op": "noise"}]})
        ('kap.sigma=0.2', 'noise')
    """
    return tuple(_changed(before, now))


def retold(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Write title and source of a recipe that has them from another one, and has other settings.

    Args:
        before: The recipe as plain data, with its title and source.
        now: The changed one, as plain data.

    Returns:
        The keys `title` and `source`, those of the two that must say something else; empty where no setting differs.
    """
    differences = changes(before, now)
    if not differences:
        return {}
    more = [f"and {len(differences) - _MOST} more"] if len(differences) > _MOST else []
    listed = ", ".join([*differences[:_MOST], *more])
    title, source = str(before.get("title") or ""), str(before.get("source") or "")
    words = {
        "title": title and f"{title}; with {listed}",
        "source": source and f"{listed}; all else: {source}",
    }
    return {
        key: plain(text, TEXT_LENGTH - 1)
        for key, text in words.items()
        if text and now.get(key) == before.get(key)
    }


def without_prose(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a folder's settings without what their recipes say of themselves: in other words it is the same work.

    Args:
        settings: The settings; under `recipes` perhaps a list of recipes as plain data.

    Returns:
        The settings by which one work is told from another.

    Examples:
        >>> without_prose({"recipes": [{"title": "KAP", "surgery": []}], "seed": 0})
        {'recipes': [{'surgery': []}], 'seed': 0}
    """
    recipes = settings.get("recipes")
    if not isinstance(recipes, list):
        return settings
    kept = [{k: v for k, v in r.items() if k not in _PROSE} if isinstance(r, dict) else r for r in recipes]
    return {**settings, "recipes": kept}


def with_parts(recipe: Recipe, **parts: Any) -> Recipe:
    """Return a recipe with other parts, whose title and source say what differs.

    Args:
        recipe: The recipe.
        parts: Its `training`, `data` or `evaluation`.

    Returns:
        The new recipe.
    """
    changed = recipe.model_copy(update=parts)
    words = retold(recipe.model_dump(mode="json"), changed.model_dump(mode="json"))
    return changed.model_copy(update=words)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    old, new = (s if isinstance(s := r.get("surgery"), list) else [] for r in (before, now))
    names = [str(o.get("op")) for o in new]
    for number, operation in enumerate(new):
        name = plain(names[number], _LONGEST)
        if names.count(names[number]) > 1:
            name = f"{name}#{names[: number + 1].count(names[number])}"
        if number < len(old):
            yield from _differing(name, old[number], operation)
        else:
            yield name
    for part, kind in _KINDS.items():
        defaults = kind().model_dump(mode="json")
        yield from _differing(part, *(merge(defaults, r.get(part) or {}) for r in (before, now)))


def _differing(place: str, before: object, now: object) -> Iterator[str]:
    """The settings of one part, or of one mapping in it, that differ."""
    if isinstance(now, Mapping) and isinstance(before, Mapping | None):
        for key, value in now.items():
            yield from _differing(f"{place}.{plain(key, _LONGEST)}", (before or {}).get(key), value)
    elif before != now:
        yield f"{place}={_value(now)}"


def _value(value: object) -> str:
    return plain(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), _LONGEST
    )
