"""Settings that do not fit, in one line: as errors of surgeon where a class of settings is called. No torch here."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ValidationError

from surgeon.errors import ArgumentError, SurgeonError, nearest

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Metaclass
else:
    _Metaclass = type(BaseModel)
_MOST = 8
"""Faults that one error message lists."""
_PLAIN = re.compile(r"[\w\-]{1,80}")


class OneLineErrors(_Metaclass):
    """The metaclass of settings: a call with values that do not fit raises an error of surgeon, in one line.

    Reading (`model_validate`) and settings inside others raise pydantic's own, which knows their place.
    The class of the error is the settings' attribute `refused_as`.
    """

    def __call__(cls, *args: Any, **given: Any) -> Any:
        """Make settings.

        Args:
            args: pydantic does not take any.
            given: the settings.

        Raises:
            SurgeonError: a value does not fit; the message names it, and for an unknown key the nearest ones.
        """
        try:
            return super().__call__(*args, **given)
        except ValidationError as error:
            refused: type[SurgeonError] = getattr(cls, "refused_as", ArgumentError)
            raise refused(f"{cls.__name__}: {describe(error, cls)}") from None


class Settings(BaseModel, metaclass=OneLineErrors):
    """Base of settings that a caller makes: a copy with other values is checked as they are."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the settings.

        Args:
            update: Values of the copy that are other ones.
            deep: Copy what the settings hold, too.

        Returns:
            The copy.

        Raises:
            SurgeonError: A value does not fit, or there is no setting of that name.

        Examples:
            >>> from surgeon.recipe import Training
            >>> Training(epochs=2).model_copy(update={"lr": 0.1}).lr
            0.1
        """
        same = super().model_copy(deep=deep)
        if not update:
            return same
        given = {name: value for name, value in same if name in same.model_fields_set}
        return type(self)(**{**given, **update})


def describe(error: ValidationError, model: type) -> str:
    """Describe a validation error in one line.

    Args:
        error: The error.
        model: The pydantic model that was validated.

    Returns:
        Each key at fault, and for unknown keys the nearest valid ones.
    """
    unknown, parts = [], []
    for item in error.errors():
        place = where(item["loc"])
        if item["type"] == "extra_forbidden":
            fields = _fields_at(model, item["loc"][:-1])
            quoted = place if place.startswith("'") else f"'{place}'"
            unknown.append(f"unknown key {quoted}; {nearest(str(item['loc'][-1]), fields)}")
        elif item["type"] == "missing" and isinstance(item["loc"][-1], int):
            parts.append(f"{where(item['loc'][:-1])} is too short: number {item['loc'][-1] + 1} is missing")
        elif item["type"] == "missing":
            parts.append(f"the key {place!r} is missing")
        else:
            message = item["msg"].removeprefix("Value error, ")
            # Validators of our own name the key and the value; pydantic's messages name neither.
            key = next((str(p) for p in reversed(item["loc"]) if not isinstance(p, int)), "")
            complete = item["type"] == "value_error" and (not place or bool(key) and key in message)
            parts.append(
                message if complete or not place else f"{place}: {message} (got {shown(item['input'])})"
            )
    parts = unknown + parts
    return "; ".join(parts[:_MOST]) + (f"; and {len(parts) - _MOST} more" if len(parts) > _MOST else "")


def _fields_at(model: Any, path: tuple[Any, ...]) -> list[str]:
    """Return the field names of the model at a path inside another model."""
    for step in path:
        field = getattr(model, "model_fields", {}).get(step)
        if field is None:
            return []
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), None)
    return list(getattr(model, "model_fields", {}))


def shown(value: object) -> str:
    """Write a value for an error message: as Python does, shortened where it is long or nested.

    Args:
        value: the value.
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 80, 80
    return " ".join(short.repr(value).split())


def where(place: Iterable[object]) -> str:
    """Write the path to a key in one line, whatever the keys hold.

    Args:
        place: the keys, from the outside in.

    Examples:
        >>> where(("training", "lr"))
        'training.lr'
    """
    return ".".join(str(p) if isinstance(p, int) or _PLAIN.fullmatch(str(p)) else shown(p) for p in place)


def faults(error: ValidationError) -> str:
    """Describe a validation error in one line: key, reason and value of the first three faults.

    Args:
        error: pydantic's error.
    """
    errors = error.errors(include_url=False, include_context=False)
    parts = []
    for item in errors[:3]:
        place = where(item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{place}: {message} (got {shown(item['input'])})" if place else message)
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return "; ".join(parts) + more
