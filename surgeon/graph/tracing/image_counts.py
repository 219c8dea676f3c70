"""Whether a number by which code decides may depend on the number of images."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx


def counts_images(node: fx.Node) -> bool:
    """Whether a value that is not a tensor may depend on the first dimension of a tensor.

    The nodes have their `value`, as `ValueTracer` leaves it.
    """
    seen: set[fx.Node] = set()
    todo = [node]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        if _other_dimension(current):
            continue
        if any(isinstance(n.meta.get("value"), torch.Tensor) for n in current.all_input_nodes):
            if not _rank_or_type(current):
                return True
            continue
        todo += current.all_input_nodes
    return False


def _rank_or_type(node: fx.Node) -> bool:
    name = node.args[1] if node.target is getattr and len(node.args) > 1 else node.target
    return name in (
        "dim",
        "ndim",
        "dtype",
        "device",
        "is_cuda",
        "layout",
        "is_floating_point",
        "is_complex",
        "training",
    )


def _other_dimension(node: fx.Node) -> bool:
    """`x.shape[2]`, `x.size(-1)`: a dimension that is not the first."""
    if node.op == "call_method" and node.target == "size" and len(node.args) > 1:
        return _not_first(node.args[1], node.args[0])
    if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
        sizes = node.args[0]
        if isinstance(sizes.meta.get("value"), torch.Size) and sizes.args:
            return _not_first(node.args[1], sizes.args[0])
    return False


def _not_first(index: Any, of: Any) -> bool:
    value = of.meta.get("value") if isinstance(of, fx.Node) else None
    if not isinstance(value, torch.Tensor):
        return False
    if isinstance(index, int):
        return index % max(value.dim(), 1) != 0
    return isinstance(index, slice) and 0 not in range(*index.indices(value.dim()))
