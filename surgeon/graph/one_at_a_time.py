"""Graphs are made by one thread at a time, whoever calls the network meanwhile."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from surgeon.torch_private import without_modes

_making = threading.RLock()


def alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """One thread at a time, and outside of what a mode of torch's, such as that of fake tensors, would make of it."""

    @functools.wraps(method)
    def called(*args: Any) -> Any:
        with _making, without_modes():
            return method(*args)

    return called
