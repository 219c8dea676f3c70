"""`torch.finfo(x.dtype)` and `torch.iinfo(x.dtype)` while a network is traced with the values of an example.

torch makes them of a type alone, and a proxy is not one. Their numbers are of the example's type: code that asks for
them decides by it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx


@contextlib.contextmanager
def limits_answered(tracer: Any) -> Iterator[None]:
    """In this block `torch.finfo` and `torch.iinfo` answer for a proxy of this ValueTracer."""
    with contextlib.ExitStack() as stack:
        for name in ("finfo", "iinfo"):
            known = getattr(torch, name)
            setattr(torch, name, type(name, (), {"__new__": _answering(known, tracer)}))
            stack.callback(setattr, torch, name, known)
        yield


def _answering(known: type, tracer: Any) -> Any:
    def answer(_: type, *args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        if given and isinstance(given[0], fx.Proxy) and any(p.tracer is tracer for p in given[:1]):
            tracer.decided_by(given[0].node)
            return known(given[0].node.meta["value"])
        return known(*args, **kwargs)

    return answer
