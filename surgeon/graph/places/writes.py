"""Real tensors that a recorded call writes into, while a network's code is traced.

`total = torch.zeros(8); total += h` writes a recorded value into a tensor that is real: it was made while the code was
traced, and a graph would hold that one tensor and write into it at each call.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from surgeon.graph.places.recorded import IN_PLACE

_METHODS = frozenset({"__setitem__", *(f"__{f.__name__.strip('_')}__" for f in IN_PLACE)})
"""Methods that write into their tensor, beside those whose name ends in `_`."""


def written(
    kind: str, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[torch.Tensor]:
    """The real tensors among the arguments of a call that is recorded (`kind` as torch.fx names it) which it
    writes into."""
    if kind not in ("call_function", "call_method"):
        return
    out = kwargs.get("out")
    yield from (v for v in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(v, torch.Tensor))
    if _writes(target) or kwargs.get("inplace") is True:
        first = args[0] if args else kwargs.get("input")
        if isinstance(first, torch.Tensor):
            yield first


def _writes(target: Any) -> bool:
    name = target if isinstance(target, str) else str(getattr(target, "__name__", ""))
    plain = name.endswith("_") and not name.endswith("__")
    return plain or name in _METHODS or target is operator.setitem or target in IN_PLACE
