"""Validate what a caller passes, mostly numbers, under the names of their arguments. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import TypeGuard

from surgeon.errors import ArgumentError

SEEDS = 2**32
"""Seeds are below this: every generator accepts them, and derived seeds still fit into 64 bits."""


def checked_seed(seed: object, name: str = "seed") -> int:
    """Validate a seed.

    Args:
        seed: the value.
        name: its name, for the message.

    Returns:
        The seed as an int.

    Raises:
        ArgumentError: it is not a whole number from 0 to 2³² − 1.

    Examples:
        >>> checked_seed(7)
        7
        >>> checked_seed(-1)
        Traceback (most recent call last):
        surgeon.errors.ArgumentError: seed=-1 is not a seed: give a whole number from 0 to 4,294,967,295
    """
    if not _whole(seed) or not 0 <= seed < SEEDS:
        raise ArgumentError(f"{name}={seed!r} is not a seed: give a whole number from 0 to {SEEDS - 1:,}")
    return int(seed)


def checked_by_name(name: str, value: object) -> None:
    """Check that things are given by their names.

    Args:
        name: the argument's name, for the message.
        value: the value.

    Raises:
        ArgumentError: it is not a mapping of texts to them.

    Examples:
        >>> checked_by_name("models", ["one"])
        Traceback (most recent call last):
        surgeon.errors.ArgumentError: models is a list; give a mapping of names: models={"a name": …}
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        what = "a mapping of other keys" if isinstance(value, Mapping) else f"a {type(value).__name__}"
        raise ArgumentError(f'{name} is {what}; give a mapping of names: {name}={{"a name": …}}')


def checked_count(name: str, value: object, least: int = 1) -> int:
    """Validate a count.

    Args:
        name: its name, for the message.
        value: the value.
        least: the smallest valid count.

    Returns:
        The count as an int.

    Raises:
        ArgumentError: it is not a whole number, or is below `least`.

    Examples:
        >>> checked_count("samples", 0)
        Traceback (most recent call last):
        surgeon.errors.ArgumentError: samples=0 must be a whole number, 1 or more
    """
    if not _whole(value) or value < least:
        raise ArgumentError(f"{name}={value!r} must be a whole number, {least} or more")
    return int(value)


def checked_number(name: str, value: object, *, positive: bool = False, below: float = math.inf) -> float:
    """Validate a number.

    Args:
        name: its name, for the message.
        value: the value.
        positive: whether 0 is not valid.
        below: the number must be below this.

    Returns:
        The number as a float.

    Raises:
        ArgumentError: it is not a number, not finite, negative, or out of range.

    Examples:
        >>> checked_number("eps", float("nan"))
        Traceback (most recent call last):
        surgeon.errors.ArgumentError: eps=nan must be a finite number of 0 or more
    """
    if not _finite(value) or not 0 <= value < below or (positive and value == 0):
        least = "above 0" if positive else "of 0 or more"
        most = "" if math.isinf(below) else f" and below {below:g}"
        raise ArgumentError(f"{name}={value!r} must be a finite number {least}{most}")
    return float(value)


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
