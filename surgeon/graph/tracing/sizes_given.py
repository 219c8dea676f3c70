"""Torch's functions that are given a size of the input: `torch.ones(x.shape[0], 4)`, `table.expand(x.shape[0], -1)`.

While a network is traced, such a size is a proxy. torch asks a proxy for a record of the call only where it stands in
a tensor's place, and refuses one as the first of several sizes. These calls are recorded instead of refused.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from surgeon.torch_private import tree_leaves

_MAKING = ("ones", "zeros", "full", "empty", "arange", "linspace", "eye")
_METHODS = ("expand", "view", "reshape", "repeat", "tile", "new_ones", "new_zeros", "new_full", "new_empty")


@contextlib.contextmanager
def sizes_recorded(tracer: fx.Tracer) -> Iterator[None]:
    """In this block torch's functions that refuse a proxy among their sizes are recorded by the tracer."""
    with contextlib.ExitStack() as stack:
        for namespace, names, kind in (
            (torch, _MAKING, "call_function"),
            (torch.Tensor, _METHODS, "call_method"),
        ):
            for name in names:
                own = name in vars(namespace)
                function = getattr(namespace, name)
                setattr(namespace, name, _recording(function, kind, name, tracer))
                stack.callback(_back, namespace, name, function if own else None)
        yield


def _back(namespace: Any, name: str, function: Any) -> None:
    if function is None:
        delattr(namespace, name)
    else:
        setattr(namespace, name, function)


def _recording(function: Any, kind: str, name: str, tracer: fx.Tracer) -> Any:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            if not any(isinstance(a, fx.Proxy) and a.tracer is tracer for a in tree_leaves((args, kwargs))):
                raise
        return tracer.create_proxy(kind, function if kind == "call_function" else name, args, kwargs)

    return called
