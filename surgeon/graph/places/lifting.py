"""Functions that code calls, made into modules: such a module hangs at the function's owner under the call's name.

A network's own code goes on to call the function, so that a folded or reverted network has no such module. The graphs
of a rewritten network call the module instead, where a layer or another module is to be.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx, nn

from surgeon.errors import TraceError
from surgeon.graph.places.callees import Place, functions
from surgeon.graph.places.residual import Sum
from surgeon.selection import is_call

FUNCTION = "surgeon_function"
"""Where a node has the module that gives what the stock network's function gives there."""
BRANCH = "surgeon_branch"
"""Where a node has the place of the argument that a layer before it takes."""


def lift(graph: fx.Graph, names: Iterable[str], network: nn.Module) -> None:
    """Have a graph call the modules of these names in place of functions.

    Raises TraceError where a module's code calls the function less often than when the name was given.
    """
    wanted = {n for n in names if is_call(n)}
    if not wanted:
        return
    calls = list(functions(graph, network))
    there = {p.name for p in calls}
    for place in calls:
        if place.name in wanted:
            _call_module(graph, place)
    for name in wanted - there:
        first = name.rpartition("_")[0] + "()"
        if first in there:
            raise TraceError(f"{name} is not there, and {first} is: which call this is cannot be told")


def _call_module(graph: fx.Graph, place: Place) -> None:
    node = place.node
    adds = isinstance(place.module, Sum)
    with graph.inserting_before(node):
        new = graph.call_module(place.name, node.args if adds else node.args[:1])
    new.meta = {**node.meta, FUNCTION: place.module, BRANCH: place.branch}
    stack = node.meta.get("nn_module_stack") or {}
    new.meta["nn_module_stack"] = type(stack)(stack) | {place.name: (place.name, type(place.module))}
    node.replace_all_uses_with(new)
    graph.erase_node(node)
    if getattr(place.module, "inplace", False) and isinstance(new.args[0], fx.Node):
        read_result(graph, new.args[0], new)


def read_result(graph: fx.Graph, written: fx.Node, result: fx.Node) -> None:
    """Have all that reads a value after it was written in place read the result."""
    if len(written.users) > 1:
        order = order_in(graph)
        written.replace_all_uses_with(result, delete_user_cb=lambda n: order[n] > order[result])


def order_in(graph: fx.Graph) -> dict[fx.Node, int]:
    """Each node's place in the order in which they run."""
    return {n: i for i, n in enumerate(graph.nodes)}


def unlift(tree: nn.Module, kept: Iterable[str] = ()) -> None:
    """Take modules that stand for functions off a tree; those called `kept` stay."""
    stay = set(kept)
    for owner, module in list(tree.named_modules()):
        for leaf in [k for k in module._modules if is_call(k)]:
            if (f"{owner}.{leaf}" if owner else leaf) not in stay:
                del module._modules[leaf]
