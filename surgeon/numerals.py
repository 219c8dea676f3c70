"""How numbers are written in the terminal, in messages, on the page and in the model card: `52.2 %`."""

from __future__ import annotations

from typing import Protocol


class _Interval(Protocol):
    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


_MOST = 5
"""Decimals that a share so near to 0 or 1 gets at most."""


def percent(share: float) -> str:
    """Write a share of 1 as a percentage, to a tenth.

    What is not all is never written as `100.0 %`, and what is not nothing never as `0.0 %`: such a share gets as many
    decimals as tell it apart, up to a hundred-thousandth of a per cent.

    Args:
        share: the share.

    Examples:
        >>> percent(0.522), percent(1.0), percent(0.9996), percent(0.0004)
        ('52.2 %', '100.0 %', '99.96 %', '0.04 %')
    """
    return f"{_hundredths(share)} %"


def _hundredths(share: float) -> str:
    """A share in per cent, without the sign of one that is written as 0."""
    value = 100 * share
    whole = [100.0 * end for end in (-1, 0, 1) if abs(value - 100 * end) < 10**-_MOST / 2]
    for decimals in () if whole else range(1, _MOST + 1):
        text = f"{value:.{decimals}f}"
        if abs(float(text)) not in (0.0, 100.0):
            return text
    return f"{(whole or [value])[0] + 0.0:.1f}"


def span(low: float, high: float) -> str:
    """Write an interval of shares.

    Args:
        low: its lower end.
        high: its upper end.

    Examples:
        >>> span(0.501, 0.543)
        '50.1 % to 54.3 %'
    """
    return f"{percent(low)} to {percent(high)}"


def with_interval(share: _Interval) -> str:
    """Write a share with its interval, as `52.2 % [50.1 %, 54.3 %]`.

    Args:
        share: an object with `value`, `low` and `high`.
    """
    return f"{percent(share.value)} [{percent(share.low)}, {percent(share.high)}]"


def bounds(share: _Interval) -> str:
    """Write a share's interval without a unit, as `50.1–54.3`.

    Args:
        share: an object with `low` and `high`.
    """
    return f"{_hundredths(share.low)}–{_hundredths(share.high)}"


class _Difference(Protocol):
    @property
    def difference(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def points(difference: float) -> str:
    """Write a difference of two shares in percentage points, with its sign.

    Args:
        difference: the difference, of shares of 1.

    Examples:
        >>> points(0.031), points(-0.005), points(-0.0003)
        ('+3.1', '−0.5', '−0.03')
    """
    text = _hundredths(difference)
    return text.replace("-", "\N{MINUS SIGN}") if text.startswith("-") else f"+{text}"


def points_with_interval(difference: _Difference) -> str:
    """Write a difference with its interval, as `+3.1 points [+1.0, +5.2]`.

    Args:
        difference: an object with `difference`, `low` and `high`.
    """
    return f"{points(difference.difference)} points [{points(difference.low)}, {points(difference.high)}]"


def duration(seconds: float) -> str:
    """Write a duration.

    Args:
        seconds: the duration.

    Examples:
        >>> duration(45), duration(200), duration(7500)
        ('45 s', '3 min 20 s', '2 h 5 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def pace(done: float, seconds: float) -> str:
    """Write a rate of work.

    Args:
        done: how many items are done.
        seconds: the time that they took.

    Returns:
        Items a second, or the time of each where one takes longer than a second; '' before the first.

    Examples:
        >>> pace(1200, 10), pace(34, 10), pace(2, 24)
        ('120 a second', '3.4 a second', '12 s each')
    """
    if done <= 0 or seconds <= 0:
        return ""
    rate = done / seconds
    if rate >= 10:
        return f"{rate:,.0f} a second"
    return f"{rate:.1f} a second" if rate >= 1 else f"{duration(1 / rate)} each"


def vanishes(text: str) -> bool:
    """Whether the text of a decimal number is not that of 0, though it may be read as 0, such as 1e-400.

    Args:
        text: the number as written.

    Examples:
        >>> vanishes("1e-400"), vanishes("0.0e3")
        (True, False)
    """
    return any(digit in "123456789" for digit in text.lower().partition("e")[0])
