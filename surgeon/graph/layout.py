"""Where channels lie: in the first axis of a map (C, H, W), or in the last one, as linear layers write them.

A module with weights says it of itself. Any other has what stands before it, as far as that keeps the axes in
their places.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable

from torch import fx, nn

from surgeon.graph.leaves import is_convolution, is_norm
from surgeon.graph.traced import Traced

_MOST = 64
"""How many steps up are followed."""
_KEEPING = {
    "add",
    "sub",
    "mul",
    "truediv",
    "iadd",
    "imul",
    "relu",
    "relu_",
    "gelu",
    "silu",
    "dropout",
    "clone",
    "contiguous",
}
"""Functions and methods that keep axes in their places, by name."""
_TURNING = {"permute", "transpose", "movedim"}
"""Those that exchange axes."""


def channels_last_sites(model: nn.Module, regions: Iterable[tuple[str, Traced]]) -> set[str]:
    """The modules whose output has its channels in the last axis, by their dotted names."""
    found: set[str] = set()
    for region, traced in regions:
        prefix = f"{region}." if region else ""
        for node in (
            n for graph in (traced.train, traced.eval) for n in graph.nodes if n.op == "call_module"
        ):
            if _last(model, node, prefix):
                found.add(prefix + str(node.target))
    return found


def _last(model: nn.Module, node: fx.Node, prefix: str) -> bool:
    """Whether the channels of a node's value are in the last axis."""
    turned = False
    for _ in range(_MOST):
        if node.op == "call_module":
            module = model.get_submodule(prefix + str(node.target))
            own = _says(module)
            if own is not None:
                return own is not turned
        elif node.op not in ("call_function", "call_method"):
            return turned
        elif _name(node) in _TURNING:
            turned = not turned
        elif _name(node) in ("flatten", "mean", "reshape", "view"):
            # Pooled or flattened values are (N, C) or tokens, unless they are turned further on.
            return not turned
        elif _name(node) not in _KEEPING:
            return turned
        source = next(iter(node.all_input_nodes), None)
        if source is None:
            return turned
        node = source
    return turned


def _says(module: nn.Module) -> bool | None:
    """Whether a module writes its channels into the last axis; None for one that leaves them where they are."""
    if is_convolution(module):
        return False
    if isinstance(module, (nn.Linear, nn.MultiheadAttention, nn.Embedding)):
        return True
    if is_norm(module):
        if isinstance(module, nn.LayerNorm) and not type(module).__name__.endswith("2d"):
            return True
        return None
    return None


def _name(node: fx.Node) -> str:
    """The name of a function or method, without its module."""
    if isinstance(node.target, str):
        return node.target
    name = getattr(node.target, "__name__", "")
    return "truediv" if node.target is operator.truediv else name.rpartition(".")[2]
