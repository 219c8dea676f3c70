"""A nested value as a list of the tensors and plain values in it, each with where it stands."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from surgeon.graph.trees.streams import is_stream, state_of

_PLAIN = (str, int, float, complex, bool, bytes, type(None), torch.dtype, torch.device, torch.Size)


def flat(value: Any, path: str = "", depth: int = 8, objects: bool = True) -> Iterator[tuple[str, Any]]:
    """The parts of a value by path, with the kinds of what holds them; `objects`: also of objects of other
    classes, by their attributes."""
    if isinstance(value, (torch.Tensor, *_PLAIN)):
        yield path, value
    elif is_stream(value):
        yield path, state_of(value)
    elif isinstance(value, nn.Module) or not depth:
        return
    elif isinstance(value, Mapping):
        yield f"{path}#", type(value).__qualname__
        for key, inner in list(value.items()):
            yield from flat(inner, f"{path}{{{key}}}", depth - 1, objects)
    elif isinstance(value, (list, tuple, deque)):
        yield f"{path}#", type(value).__qualname__
        for place, inner in enumerate(value):
            yield from flat(inner, f"{path}[{place}]", depth - 1, objects)
    elif objects:
        yield f"{path}#", type(value).__qualname__
        for key, inner in list(getattr(value, "__dict__", {}).items()):
            yield from flat(inner, f"{path}.{key}", depth - 1, objects)
