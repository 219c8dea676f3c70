"""Calling an inserted layer together with the module before it, where the layer knows a shorter way to the same result.

A layer offers it as a method `after(module, x)`, which gives what `layer(module(x))` gives. The graphs stay
as they are, a call of the module and a call of the layer; only the code that is made from them calls both at
once. Where something listens to either module, or traces, each is called by itself.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn

from surgeon.graph.changes.anchors import walk
from surgeon.torch_private import HOOKS_ON_ALL

_OWN = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def after(layer: Any, module: nn.Module, x: Any) -> Any:
    """layer(module(x)), by the layer's own shorter way where nothing would notice."""
    # Asked at each call: hooks come and go after the code was made.
    if isinstance(x, torch.Tensor) and not (_heard(layer) or _heard(module) or _all_heard()):
        return layer.after(module, x)
    return layer(module(x))


def joined(graph: fx.Graph, network: nn.Module) -> fx.Graph:
    """The graph with such calls joined: a copy, or the graph itself where no calls are to join."""
    if not any(_pair(node, network) for node in graph.nodes):
        return graph
    # Callers see, edit and export the graphs: there each module is still called by itself.
    graph = copy.deepcopy(graph)
    for node in list(graph.nodes):
        before = _pair(node, network)
        if before is None:
            continue
        with graph.inserting_before(node):
            # get_attr, and not call_module: `after` is handed the modules, and decides itself how they are called.
            layer = graph.create_node("get_attr", str(node.target))
            module = graph.create_node("get_attr", str(before.target))
            together = graph.call_function(after, (layer, module, before.args[0]))
        node.replace_all_uses_with(together)
        # The layer's call first: torch.fx refuses to erase a node that another one uses.
        graph.erase_node(node)
        graph.erase_node(before)
    return graph


def _pair(node: fx.Node, network: nn.Module) -> fx.Node | None:
    """The call of a module whose only use is this call of a layer that joins it."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    before = node.args[0]
    # With a second use the module's own output is needed all the same, and nothing would be saved.
    if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
        return None
    if len(before.args) != 1 or before.kwargs:
        return None
    layer, module = (walk(network, str(n.target)) for n in (node, before))
    # a function that other code put in a module's place does not have a module's hooks, which could be asked
    return before if hasattr(layer, "after") and isinstance(module, nn.Module) else None


def _heard(module: nn.Module) -> bool:
    own = module.__dict__
    # A `forward` of the object itself, as wrappers put one on a module, would be skipped by the shorter way.
    return "forward" in own or any(own.get(name) for name in _OWN)


def _all_heard() -> bool:
    return any(HOOKS_ON_ALL)
