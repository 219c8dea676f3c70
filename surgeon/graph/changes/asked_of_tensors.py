"""What code asked of a tensor before it decided by the answer: its type, or how it lies in memory."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import fx

_TYPE = ("dtype", "is_floating_point", "is_complex", "element_size", "itemsize", "type", "is_signed")
LAYOUT = ("is_contiguous", "stride", "storage_offset", "is_non_overlapping_and_dense", "data_ptr")
"""Questions about a tensor's layout in memory, which may be answered differently in the next call."""


def asks_a_type(node: fx.Node) -> bool:
    """Whether a value that is not a tensor may depend on the dtype of a tensor."""
    return bool(comes_of(node, _TYPE))


def comes_of(node: fx.Node, questions: Collection[str]) -> str:
    """The first question to a tensor from which a value that is not a tensor was computed; '' if there is no such
    question.

    The nodes have their `value`, as `ValueTracer` leaves it.
    """
    seen: set[fx.Node] = set()
    todo = [node]
    while todo:
        source = todo.pop()
        if source in seen or isinstance(source.meta.get("value"), torch.Tensor):
            continue
        seen.add(source)
        name = source.args[1] if source.target is getattr and len(source.args) > 1 else source.target
        asked = getattr(name, "__name__", name)
        if asked in questions:
            return str(asked)
        todo += source.all_input_nodes
    return ""
