"""Layers whose weight a function reads: `F.linear(x, self.qkv.weight, bias)` in the code of the module above.

The layer itself is never called. Where the function reads one module's weight, and nothing else does, its result is
what the layer gives, whatever bias the code makes for it. The projection of torch's attention is read so inside of
torch, and its result is the attention's. So it is with a function that does all of attention and is kept whole, such
as torchvision's `shifted_window_attention(x, qkv_weight, proj_weight, ...)`: what it gives is the projection's, with
windows put back in their places. What its other weights make stays inside of it (`whole`).

A layer that is called may have its weight read beside: by the transposed convolution of a tied decoder, or for its
norm. What is folded into such a weight, or fitted, would act there too (`read_beside`).
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.nn import functional

from surgeon.graph.trees.leaves import is_convolution

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
CONVOLUTIONS = {getattr(namespace, name): name for namespace in (torch, functional) for name in _CONVOLUTIONS}
"""torch's convolutions as functions, and their names."""
FUNCTIONS = {functional.linear, *CONVOLUTIONS}


_PROJECTION = ("proj_weight", "out_proj_weight")
"""Names that functions of attention give the weight of their last layer."""


_LOOKS = frozenset(
    (
        *(
            "dtype",
            "device",
            "shape",
            "layout",
            "ndim",
            "requires_grad",
            "is_cuda",
            "is_meta",
            "names",
            "get_device",
        ),
        *("size", "dim", "numel", "nelement", "stride", "is_contiguous", "element_size", "__len__"),
        *("is_floating_point", "is_complex", "type_as", "expand_as", "view_as", "reshape_as"),
        *("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"),
        *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"),
        *("register_hook", "requires_grad_"),
    )
)
"""What can be asked of a tensor without reading its values."""


def reads_values(function: str, place: int) -> bool:
    """Whether a function reads the values of the tensor that is its argument at a place; `x.to(weight)` does not."""
    return function not in _LOOKS and not (function == "to" and place > 0)


def read_beside(graph: fx.Graph) -> dict[str, str]:
    """Modules whose parameter the code around them reads, with why nothing may be folded into it, or fitted."""
    by_name: dict[str, str] = {}
    for node in graph.nodes:
        name, _, leaf = str(node.target).rpartition(".") if node.op == "get_attr" else ("", "", "")
        for user in node.users if name else ():
            function = _function(user)
            places = [i for i, a in enumerate(user.args) if a is node] or [0]
            if any(reads_values(function, i) for i in places):
                by_name.setdefault(name, why_beside(function, leaf))
    return by_name


def why_beside(function: str, leaf: str) -> str:
    """Why a parameter that a function reads stays as it is, in words."""
    return f"{function} in the network's code reads its {leaf} too, where a changed {leaf} would act as well"


def _function(node: fx.Node) -> str:
    if node.op == "call_function":
        return (
            str(node.args[1])
            if node.target is getattr
            else str(getattr(node.target, "__name__", node.target))
        )
    return str(node.target)


def weights_read(graph: fx.Graph, network: nn.Module) -> dict[fx.Node, str]:
    """Functions that read a layer's weight, with the layer's name, in order."""
    by_node: dict[fx.Node, str] = {}
    called = {str(n.target) for n in graph.nodes if n.op == "call_module"}
    for node in graph.nodes:
        given = attended(node, network)
        if given is not None:
            by_node[given] = f"{node.target}.out_proj"
        weight = _weight(node) or projection(node)
        if weight is None:
            continue
        name, _, leaf = str(weight.target).rpartition(".")
        if leaf != "weight" or not name or name in called:
            continue
        layer = network.get_submodule(name)
        fits = is_convolution(layer) if node.target in CONVOLUTIONS else isinstance(layer, nn.Linear)
        if fits and all(weight in (_weight(user), projection(user)) for user in weight.users):
            by_node[node] = name
    return by_node


def attended(node: fx.Node, network: nn.Module) -> fx.Node | None:
    """What torch's attention gives, without the weights that it gives beside; None if a node is no call of it."""
    firsts = [u for u in node.users if u.target is operator.getitem and u.args[1] == 0]
    if node.op != "call_module" or len(firsts) != 1:
        return None
    module = network.get_submodule(str(node.target))
    return firsts[0] if isinstance(module, nn.MultiheadAttention) else None


def _weight(node: fx.Node) -> fx.Node | None:
    """What a linear or convolution function reads as its weight, if the network has that as a tensor."""
    if node.op != "call_function" or node.target not in FUNCTIONS:
        return None
    weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
    return weight if isinstance(weight, fx.Node) and weight.op == "get_attr" else None


def projection(node: fx.Node) -> fx.Node | None:
    """The weight of its last layer that a function of attention is given; None for another node."""
    return next((weight for name, weight in _given(node) if name in _PROJECTION), None)


def whole(graph: fx.Graph) -> dict[str, str]:
    """Layers whose weight is given to a function that does more than the layer, with the function's name."""
    return {
        str(weight.target).rpartition(".")[0]: node.target.__name__
        for node in graph.nodes
        for name, weight in _given(node)
        if name.endswith("weight") and name not in _PROJECTION and str(weight.target).endswith(".weight")
    }


def _given(node: fx.Node) -> Iterator[tuple[str, fx.Node]]:
    """The network's own tensors that a Python function is given, by the names of its parameters."""
    if node.op != "call_function" or not inspect.isfunction(node.target) or node.target in FUNCTIONS:
        return
    tensors = [n for n in node.all_input_nodes if n.op == "get_attr"]
    if not tensors:
        return
    try:
        given = inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments
    except (TypeError, ValueError):  # it has no signature, or one that this call does not fit
        return
    yield from ((name, value) for name, value in given.items() if value in tensors)
