"""What a recorded value is where code asks for it by `isinstance`: a tensor, something else, or not known."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from surgeon.graph.trees.leaves import is_activation, is_convolution, is_norm, is_pool

_PLAIN = {
    "size",
    "dim",
    "numel",
    "nelement",
    "item",
    "tolist",
    "stride",
    "element_size",
    "get_device",
    "numpy",
}
_ANSWERS = {"is_contiguous", "is_floating_point", "is_complex"}
_PARTS = {"split", "chunk", "unbind", "tensor_split", "hsplit", "vsplit", "dsplit", "split_with_sizes"}
_SEVERAL = {"topk", "sort", "mode", "kthvalue", "cummax", "cummin", "aminmax", "frexp", "slogdet"}
_OF_CONTAINERS = {"items", "keys", "values", "get", "pop", "to_tuple"}
_OTHER_METHODS = frozenset(_PLAIN | _ANSWERS | _PARTS | _SEVERAL | _OF_CONTAINERS)
"""Methods, and functions of torch of the same names, that give something else than one tensor."""
_DECIDED_BY_ARGUMENTS = frozenset({"max", "min", "median", "nanmedian", "unique", "std_mean", "var_mean"})
_TENSOR_HOMES = tuple(
    f"torch.nn.modules.{n}" for n in ("linear", "dropout", "flatten", "padding", "upsampling", "pixelshuffle")
)


def kind_of(node: fx.Node, root: nn.Module) -> type | None:
    """The class of what a node gives, as code sees it; None where that is not known. root: the traced network."""
    if "value" in node.meta:
        value = node.meta["value"]
        return torch.Tensor if isinstance(value, torch.Tensor) else type(value)
    name = node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", ""))
    if node.op == "get_attr":
        return torch.Tensor
    if node.op == "call_module":
        return torch.Tensor if _gives_a_tensor(root.get_submodule(name)) else None
    if node.op not in ("call_function", "call_method") or name in _OTHER_METHODS | _DECIDED_BY_ARGUMENTS:
        return None
    if node.op == "call_method":
        return torch.Tensor
    module_name = str(getattr(node.target, "__module__", "") or "torch")  # "" of torch's C functions
    if module_name in ("_operator", "math"):
        return torch.Tensor if _of_tensors(node, root) else None
    if node.target is getattr:
        return None
    return torch.Tensor if module_name.partition(".")[0] == "torch" else None


def from_a_module(node: fx.Node) -> bool:
    """Whether a node is the result of a module that is kept whole, or an item of such a result."""
    while node.target is operator.getitem and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node.op == "call_module"


def _gives_a_tensor(module: nn.Module) -> bool:
    if is_pool(module):
        return not getattr(module, "return_indices", False)
    plain = type(module).__module__ in _TENSOR_HOMES
    return plain or is_convolution(module) or is_norm(module) or is_activation(module)


def _of_tensors(node: fx.Node, root: nn.Module) -> bool:
    given: list[Any] = list(node.args[:1] if node.target is operator.getitem else node.args)
    return any(isinstance(a, torch.Tensor) for a in given) or any(
        kind_of(a, root) is torch.Tensor for a in given if isinstance(a, fx.Node)
    )
