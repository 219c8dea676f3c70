"""Tell which values of a graph are not tensors but numbers read off a tensor, such as sizes."""

from __future__ import annotations

from torch import fx

_ATTRIBUTES = ("shape", "device", "dtype", "ndim", "training")
_METHODS = ("size", "dim", "numel", "stride")


def is_number(node: fx.Node, depth: int = 16) -> bool:
    """Whether a value is read off a tensor, or computed from such values alone."""
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in _ATTRIBUTES
    if node.op == "call_method" and node.target in _METHODS:
        return True
    if node.op != "call_function" or not node.all_input_nodes or not depth:
        return False
    module_name = getattr(node.target, "__module__", "")
    plain = module_name in ("_operator", "builtins", "math")
    return plain and all(is_number(n, depth - 1) for n in node.all_input_nodes)
