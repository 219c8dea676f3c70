"""`torch._check` of a size, and its kin, while a network is traced: the graph checks it at each call, as the code does.

torch wants a bool of its own there, which a proxy is not; torch.export asks for such lines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx

from surgeon.torch_private import CHECK_WITH, CHECKS


@contextlib.contextmanager
def checks_recorded() -> Iterator[None]:
    """In this block what code checks of a proxy becomes a call of its graph."""
    known: Callable[..., None] | None = getattr(torch, CHECK_WITH, None)
    if known is None:
        yield
        return

    def check(error: type, condition: Any, message: Any) -> None:
        if isinstance(condition, fx.Proxy) and error in CHECKS:
            given = (CHECKS[error], condition, _text(message))
            condition.tracer.create_proxy("call_function", checked, given, {})
        else:
            known(error, condition, message)

    setattr(torch, CHECK_WITH, check)
    try:
        yield
    finally:
        setattr(torch, CHECK_WITH, known)


@fx.node.has_side_effect
def checked(kind: str, condition: Any, message: str | None) -> None:
    """What a graph calls in place of `torch._check` and its kin, by their names."""
    # torch before 2.10 takes no text, but what gives one
    getattr(torch, kind)(condition, None if message is None else lambda: message)


def _text(message: Any) -> str | None:
    """What a message says; None, for torch's own, where it is made of values that only a call has."""
    try:
        text = None if message is None else str(message() if callable(message) else message)
    except Exception:  # people's code, of a proxy
        return None
    return None if text is None or "Proxy(" in text else text
