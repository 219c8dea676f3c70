"""Sums of residual connections: a value and what a branch with weights makes of it, added by the module of both.

Both summands come from one value inside the module whose code adds them. The skip is the summand that the other one is
made of, or an earlier residual sum, or the one with fewer layers: at most one, such as a strided convolution.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
from torch import fx, nn

from surgeon.graph.places.numbers import is_number
from surgeon.graph.places.owners import owner_of
from surgeon.graph.places.read_weights import FUNCTIONS
from surgeon.graph.trees.leaves import is_weighted

_ADDITIONS = (operator.add, operator.iadd, torch.add)


class Sum(nn.Module):
    """a + b, as a module, so that a layer can hang to it.

    inplace: the sum is written into a, as the code does it.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if self.inplace:
            a += b
            return a
        return a + b

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


def is_sum(node: fx.Node) -> bool:
    """Whether a node adds two values, and nothing else."""
    adds = (node.op == "call_function" and node.target in _ADDITIONS) or (
        node.op == "call_method" and node.target in ("add", "add_")
    )
    both = len(node.args) == 2 and all(isinstance(a, fx.Node) for a in node.args)
    return adds and both and not node.kwargs


def sum_of(node: fx.Node) -> Sum:
    """The module that gives what the node gives."""
    return Sum(inplace=node.target is operator.iadd or node.target == "add_")


def branches(graph: fx.Graph, network: nn.Module) -> dict[fx.Node, int]:
    """The residual sums of a graph, in order, each with the place of the branch among its two summands."""
    depths: dict[fx.Node, int] = {}
    for node in graph.nodes:
        if is_sum(node):
            place = _branch(node, network, depths)
            if place is not None:
                depths[node] = place
    return depths


def _branch(node: fx.Node, network: nn.Module, known: Mapping[fx.Node, int]) -> int | None:
    key, _ = owner_of(node)
    one, other = node.args
    assert isinstance(one, fx.Node) and isinstance(other, fx.Node)
    if one is other:
        return None
    above = (_made_of(one, key), _made_of(other, key))
    common = set(above[0]) & set(above[1])
    if not common:
        return None
    # What both summands share is not part of either: only layers beyond it tell the branch from the skip.
    layers = [sum(_weighted(n, network) for n in mine if n not in common) for mine in above]
    if not any(layers):
        return None
    if one in common or other in common:
        return 1 if one in common else 0
    if (one in known) != (other in known):
        return 1 if one in known else 0
    # Two long branches are no residual connection: a skip has at most one layer, such as a strided convolution.
    if min(layers) > 1:
        return None
    if layers[0] == layers[1]:
        return 0 if len(above[0]) > len(above[1]) else 1
    return 0 if layers[0] > layers[1] else 1


def _made_of(value: fx.Node, key: str) -> dict[fx.Node, None]:
    """The value and all that it is computed from, back to the inputs of this call's module, without the network's
    own tensors."""
    nodes: dict[fx.Node, None] = {}
    todo = [value]
    while todo:
        node = todo.pop()
        if node in nodes or node.op == "get_attr" or is_number(node):
            continue
        nodes[node] = None
        if not key or key in (node.meta.get("nn_module_stack") or {}):
            todo += node.all_input_nodes
    return nodes


def _weighted(node: fx.Node, network: nn.Module) -> bool:
    """Whether a node is a convolution or linear layer, or a module with one in it."""
    if node.op == "call_module":
        return any(is_weighted(m) for m in network.get_submodule(str(node.target)).modules())
    return node.op == "call_function" and node.target in FUNCTIONS
