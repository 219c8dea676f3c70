"""Sizes as people write them, a number or a fraction such as 8/255, and their limits. No torch here."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from surgeon.numerals import vanishes
from surgeon.settings_faults import Settings

LEAST = 2.0**-24
"""Distance of neighbouring 32-bit numbers from 1/2 to 1: what adds less leaves such a pixel as it is."""


def number(value: Any) -> Any:
    """Convert a text such as `8/255` or `0.5` to a number; other values are returned unchanged.

    Args:
        value: a text or another value.

    Raises:
        ValueError: the text is not a finite number, or not a fraction of two.

    Examples:
        >>> number("51/255")
        0.2
    """
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number; write for instance 8/255 or 0.5")
    if not isinstance(value, str):
        return value
    if "_" in value:  # Python reads 8_0 as 80
        raise ValueError(f"{value!r} is not a number; write for instance 8/255 or 0.5")
    above, slash, below = value.partition("/")
    try:
        parts = [float(above), float(below)] if slash else [float(above)]
        # A quotient of parts that are not finite may itself be: 8/inf is 0.
        quotient = parts[0] / (parts[1] if slash else 1.0) if all(map(math.isfinite, parts)) else math.nan
    except (ValueError, ZeroDivisionError):
        quotient = math.nan
    if not quotient and vanishes(above):
        raise ValueError(
            f"{value!r} is closer to 0 than any number that can be stored; write 0 if that is meant"
        )
    if not math.isfinite(quotient):
        raise ValueError(f"{value!r} is not a number; write for instance 8/255 or 0.5")
    return quotient + 0.0  # −0 is written as 0


def too_large(name: str, size: float, what: str = "in linf") -> str:
    """The message for a size above 1, with what was probably meant.

    Args:
        name: the size's name.
        size: its value.
        what: follows the value in the message.
    """
    return (
        f"{name}={size:g} {what} is more than pixels can change, which go from 0 to 1: write "
        f"{size:g}/255 for {size:g} of 255 levels"
    )


def _deviation(sigma: float) -> float:
    if sigma > 1:
        raise ValueError(too_large("sigma", sigma, "of noise on pixels"))
    return sigma


def _movable(size: float) -> float:
    if 0 < size < LEAST:
        raise ValueError(
            f"{size:g} is less than pixels can move: as 32-bit numbers they are {LEAST:.0e} apart; write for instance "
            "8/255"
        )
    return size


def _unsigned_zero(value: float) -> float:
    return value + 0.0


_TEXT = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[^/]+(/[^/]+)?$"}]}
Quantity = Annotated[
    float,
    BeforeValidator(number),
    AfterValidator(_unsigned_zero),
    Field(allow_inf_nan=False),
    WithJsonSchema(_TEXT, mode="validation"),
]
"""A field that takes a number or a fraction."""
Size = Annotated[Quantity, AfterValidator(_movable)]
"""A field for the size of an attack: 0, which each model allows or not, or what can move a pixel."""
Deviation = Annotated[Quantity, AfterValidator(_deviation), Field(ge=0)]
"""A field for the standard deviation of noise on pixels, at most their whole range."""
Smoothing = Annotated[Quantity, AfterValidator(_deviation), Field(gt=0)]
"""The same for randomized smoothing, which needs noise above 0."""


class WithinPixels(Settings):
    """A model with an eps and a norm, and maybe a step_size. In linf both are at most 1: more would allow any image."""

    @model_validator(mode="after")
    def _within_pixels(self) -> Self:
        eps, norm = getattr(self, "eps"), getattr(self, "norm")
        if norm is None and getattr(self, "suite", "") != "paper":  # a paper's own norm may be l2
            norm = "linf"
        if norm == "linf" and eps is not None and eps > 1:
            raise ValueError(too_large("eps", eps))
        step = getattr(self, "step_size", None)
        if norm == "linf" and step is not None and step > 1:
            raise ValueError(too_large("step_size", step))
        return self
