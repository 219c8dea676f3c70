"""Warnings, each with the line of the caller's code that it is about."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_BETWEEN = ("contextlib.py", "_contextlib.py")
"""Files of Python's and torch's decorators, whose frames lie between those of the package."""


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the nearest line outside of this package, however deep inside it is called.

    Filters by module then see the caller's, and Python shows a text once for each line of the caller's code.

    Args:
        text: What it says.
        category: Its class.
    """
    for texts in _HEARD.get():
        if text not in texts:
            texts.append(text)
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and _inside(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


_HEARD: ContextVar[tuple[list[str], ...]] = ContextVar("heard", default=())
"""The lists of the blocks that listen, the innermost last."""


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Listen to what surgeon warns of in a block, whatever filters do with it.

    Yields:
        The texts so far, each once, in order.

    Examples:
        >>> with heard() as texts, warnings.catch_warnings(action="ignore"):
        ...     warn("something")
        >>> texts
        ['something']
    """
    texts: list[str] = []
    token = _HEARD.set((*_HEARD.get(), texts))
    try:
        yield texts
    finally:
        _HEARD.reset(token)


def _inside(file: str) -> bool:
    return file.startswith(_PACKAGE) or Path(file).name in _BETWEEN
