"""Numbers that a caller gives, checked at the door of a function, under the names that they have there. No torch."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TypeGuard

from surgeon.errors import ArgumentError

SEEDS = 2**32
"""Seeds are below it: what every generator in use takes, and what leaves room for the seeds that are made of them."""


def checked_seed(seed: object, name: str = "seed") -> int:
    """`seed` as an int. Raises ArgumentError unless it is a whole number from 0 to 2³² − 1."""
    if not _whole(seed) or not 0 <= seed < SEEDS:
        raise ArgumentError(f"{name}={seed!r} is no seed: give a whole number from 0 to {SEEDS - 1:,}")
    return int(seed)


def checked_count(name: str, value: object, least: int = 1) -> int:
    """`value` as an int. Raises ArgumentError unless it is a whole number, `least` or more."""
    if not _whole(value) or value < least:
        raise ArgumentError(f"{name}={value!r} must be a whole number, {least} or more")
    return int(value)


def checked_number(name: str, value: object, *, positive: bool = False, below: float = math.inf) -> float:
    """`value` as a float. Raises ArgumentError unless it is finite, not negative, below `below`, and with `positive` not 0."""
    if not _finite(value) or not 0 <= value < below or (positive and value == 0):
        least = "above 0" if positive else "of 0 or more"
        most = "" if math.isinf(below) else f" and below {below:g}"
        raise ArgumentError(f"{name}={value!r} must be a finite number {least}{most}")
    return float(value)


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
