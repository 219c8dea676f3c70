"""The base class of all settings that are read from files: types are not converted. No torch here."""

from __future__ import annotations

import functools
from typing import Annotated, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from surgeon.errors import RecipeError, SurgeonError
from surgeon.settings_faults import Settings
from surgeon.settings_faults import faults as faults
from surgeon.settings_faults import shown as shown
from surgeon.settings_faults import where as where

LONGEST = 10_000
"""The most characters of a text."""
LARGEST = 2**53
"""The largest whole number: floats represent all up to it, and small multiples fit into 64 bits."""
Line = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
"""A name: one line without control characters, so that it can be printed."""
Prose = Annotated[str, Field(max_length=LONGEST, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
"""A text of several lines without other control characters."""


class Record(BaseModel):
    """Base of plans and of what they hold: it does not change, and has no other fields than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=LONGEST)


class Strict(Settings):
    """Frozen settings without unknown keys or converted types; numbers are finite.

    A text is not accepted as a number, nor a number as a boolean. An integer is accepted as a float, and a
    list as a tuple, since YAML and JSON have no other notation.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, str_max_length=LONGEST
    )

    refused_as: ClassVar[type[SurgeonError]] = RecipeError

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        for key, given in value.items():
            if isinstance(given, int) and abs(given) > LARGEST:
                raise ValueError(f"{key}={shown(given)} is larger than {LARGEST:,}")
        ours = _of_tuples(cls)
        return {k: _tuple(v) if k in ours and isinstance(v, list) else v for k, v in value.items()}


@functools.cache
def _of_tuples(cls: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in cls.model_fields.items() if _has_tuple(field.annotation))


def _has_tuple(annotation: object) -> bool:
    return get_origin(annotation) is tuple or any(_has_tuple(a) for a in get_args(annotation))


def _tuple(value: object) -> object:
    return tuple(_tuple(v) for v in value) if isinstance(value, list) else value
