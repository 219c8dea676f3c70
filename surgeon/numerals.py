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


def percent(share: float) -> str:
    """Write a share of 1 as a percentage.

    Args:
        share: the share.

    Examples:
        >>> percent(0.522)
        '52.2 %'
    """
    return f"{100 * share:.1f} %"


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
        >>> points(0.031), points(-0.005)
        ('+3.1', '−0.5')
    """
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def points_with_interval(found: _Difference) -> str:
    """Write a difference with its interval, as `+3.1 points [+1.0, +5.2]`.

    Args:
        found: an object with `difference`, `low` and `high`.
    """
    return f"{points(found.difference)} points [{points(found.low)}, {points(found.high)}]"


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
