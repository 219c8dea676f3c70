"""Conditions as a selector writes them: numbers such as ">=16", and globs on dotted names. No torch here."""

from __future__ import annotations

import fnmatch
import operator
import re

_CONDITION = re.compile(r"^\s*(==|=|!=|>=|<=|>|<)?\s*([0-9]{1,12})\s*$")
_COMPARE = {
    None: operator.eq,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def is_condition(text: str) -> bool:
    """Say whether a text is a condition on a number.

    Args:
        text: Any text.

    Returns:
        True for a whole number, alone or behind one of `==`, `=`, `!=`, `>=`, `<=`, `>`, `<`.

    Examples:
        >>> is_condition(">=16"), is_condition("3"), is_condition("large")
        (True, True, False)
    """
    return _CONDITION.match(text) is not None


def holds(value: int, condition: str) -> bool:
    """Say whether a number meets a condition.

    Args:
        value: The number.
        condition: A condition, see `is_condition`; a number alone means equal.

    Returns:
        Whether it does.

    Raises:
        ValueError: The text is not a condition.

    Examples:
        >>> holds(16, ">=16"), holds(3, "!=3"), holds(64, "64")
        (True, False, True)
    """
    match = _CONDITION.match(condition)
    if match is None:
        raise ValueError(f"{condition!r} is not a condition; write for instance '>1', '<=7', '!=3' or '3'")
    sign, number = match.groups()
    return bool(_COMPARE[sign](value, int(number)))


def matches(name: str, pattern: str) -> bool:
    """Say whether a dotted name fits a glob.

    Args:
        name: A dotted name, such as `layer1.0.conv1`.
        pattern: `*`, `?` and `[ab]` match within one part; `**` matches any number of parts.

    Returns:
        Whether the whole name fits.

    Examples:
        >>> matches("layer1.0.conv1", "layer1.*.conv?"), matches("layer10.0.conv1", "layer1.*.conv?")
        (True, False)
    """
    return _match_parts(name.split("."), pattern.split("."))


def _match_parts(parts: list[str], globs: list[str]) -> bool:
    """Match the parts of a name against the parts of a glob."""
    if not globs:
        return not parts
    if globs[0] == "**":
        return any(_match_parts(parts[i:], globs[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], globs[0]) and _match_parts(parts[1:], globs[1:])
