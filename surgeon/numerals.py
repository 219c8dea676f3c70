"""How numbers are written, on the terminal, in messages, on the report's page and in the model card: `52.2 %`."""

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
    """A share of 1 as `52.2 %`."""
    return f"{100 * share:.1f} %"


def span(low: float, high: float) -> str:
    """An interval of shares as `50.1 % to 54.3 %`."""
    return f"{percent(low)} to {percent(high)}"


def with_interval(share: _Interval) -> str:
    """A share with its interval, as `52.2 % [50.1 %, 54.3 %]`."""
    return f"{percent(share.value)} [{percent(share.low)}, {percent(share.high)}]"


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def pace(done: float, seconds: float) -> str:
    """How fast work goes: `120 a second`, `3.4 a second`, or where one takes longer `12 s each`; '' before the first."""
    if done <= 0 or seconds <= 0:
        return ""
    rate = done / seconds
    if rate >= 10:
        return f"{rate:,.0f} a second"
    return f"{rate:.1f} a second" if rate >= 1 else f"{duration(1 / rate)} each"
