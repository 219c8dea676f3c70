"""One start for all operations of a recipe: the argument `warm_start`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from surgeon.errors import RecipeError, either, nearest
from surgeon.methods.base import Operation
from surgeon.methods.registry import describe

WarmStart = str | Mapping[str, str]


def with_starts(operations: Sequence[Operation], warm_start: WarmStart | None) -> list[Operation]:
    """Return the operations with another `start`.

    Args:
        operations: The operations.
        warm_start: One start for every operation that has it, such as "lstsq"; a start per operation, {"kap":
            "lstsq"}; or None to change nothing. Operations that keep a trained network's function exactly,
            such as noise layers, have no start.

    Returns:
        The operations, in order.

    Raises:
        RecipeError: No operation of the recipe has the start, or the recipe has no operation of a name.
    """
    if warm_start is None:
        return list(operations)
    if isinstance(warm_start, Mapping):
        there = [o.name for o in operations if "start" in type(o).model_fields]
        unknown = [name for name in warm_start if name not in there]
        if unknown:
            raise RecipeError(
                f"warm_start: the recipe has no operation {unknown[0]!r} with a start; {nearest(unknown[0], there)}"
            )
        return [_with(o, warm_start[o.name]) if o.name in warm_start else o for o in operations]
    starts = {o.name: _starts(o) for o in operations if "start" in type(o).model_fields}
    if not any(warm_start in known for known in starts.values()):
        choices = "; ".join(f"{name} has {', '.join(known)}" for name, known in starts.items())
        raise RecipeError(
            f"{either(f'warm_start={warm_start!r}', f'--warm-start {warm_start}')}: "
            f"{choices or 'no operation of the recipe has a start, and no start is needed'}"
        )
    return [_with(o, warm_start) if warm_start in starts.get(o.name, ()) else o for o in operations]


def _starts(operation: Operation) -> tuple[str, ...]:
    """List the values of an operation's field `start`."""
    schema = type(operation).model_json_schema()["properties"]["start"]
    choices = [schema, *schema.get("anyOf", [])]
    return tuple(v for c in choices for v in (*c.get("enum", ()), *([c["const"]] if "const" in c else [])))


def _with(operation: Operation, start: str) -> Operation:
    """Return the operation with another start."""
    try:
        return type(operation).model_validate({**operation.model_dump(), "start": start})
    except ValidationError as error:
        raise RecipeError(
            f"{either('warm_start', '--warm-start')} of {operation.name}: {describe(error, type(operation))}"
        ) from None
