"""Networks are cut, and graphs made, by one thread at a time, whoever computes meanwhile.

torch.fx exchanges methods of torch's classes while it traces, a cut is checked by runs that seed the process's random
streams, and default dtype and precision are the process's: two cuts at once would see each other's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from surgeon.torch_private import transforms_are_active, without_modes, without_transforms

P = ParamSpec("P")
R = TypeVar("R")


class _Lock:
    """A lock that a thread may take again; a process that is forked while another thread has it begins without."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        # a child that was forked inside of the block has a lock that nobody took
        with contextlib.suppress(RuntimeError):
            self._lock.release()


LOCK = _Lock()
"""Held around all of a cut, and wherever graphs are made."""


def one_at_a_time(function: Callable[P, R]) -> Callable[P, R]:
    """One thread at a time runs functions that are decorated so."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with LOCK:
            return function(*args, **kwargs)

    return called


def alone(method: Callable[P, R]) -> Callable[P, R]:
    """One thread at a time, and outside of what a mode of torch's, such as that of fake tensors, or a transform of
    torch.func would make of it."""

    @functools.wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        outside = without_transforms() if transforms_are_active() else contextlib.nullcontext()
        with LOCK, without_modes(), outside:
            return method(*args, **kwargs)

    return called
