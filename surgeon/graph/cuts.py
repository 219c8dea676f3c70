"""Carrying a cut into a traced graph: new layers before or after a module's call, or at the network's input."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx, nn

from surgeon.errors import TraceError
from surgeon.graph.fused import TAIL


@dataclass(frozen=True)
class Point:
    """Where a graph calls an inserted layer, in names relative to the network that owns the graph.

    site: the module after whose calls the layer stands; "" is the network's input.
    layer: the inserted module, or None if the point only marks an opened module.
    opened: the site is a fused norm and activation, opened; the layer stands between the two.
    before: the layer is called on the module's first argument, instead of its output.
    call: the only one of the module's calls that gets the layer, from 0 in the graph's order; None for each.
    """

    site: str
    layer: str | None
    opened: bool = False
    before: bool = False
    call: int | None = None


_IN_PLACE = {
    getattr(operator, f"i{name}"): getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "and_", "or_")
    if hasattr(operator, f"i{name}")
} | {operator.iand: operator.and_, operator.ior: operator.or_}
_ALIAS_METHODS = {"view", "reshape", "flatten", "permute", "transpose", "squeeze", "unsqueeze", "contiguous"}


def cut_graph(graph: fx.Graph, points: Iterable[Point], tree: nn.Module, *, with_input: bool) -> list[str]:
    """Insert the layers of `points` into `graph`, which was traced from `tree` as it stands after the edits.

    Several layers at one site stand in the order of `points`. Operations that would write into an
    inserted layer's output in place are made to write elsewhere: autograd and noise layers keep it.
    Returns the names of modules whose in-place flag was cleared. Layers at the input are inserted only
    `with_input`, for methods that take the network's input.

    Raises TraceError when an edited module is called in a way the graph does not show.
    """
    tails: dict[str, list[fx.Node]] = {}
    ends: dict[fx.Node, fx.Node] = {}
    cleared: list[str] = []
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
            _restate(node, tree)
    for point in points:
        if not point.site:
            if with_input:
                anchors = [next(n for n in graph.nodes if n.op == "placeholder")]
            else:
                continue
        else:
            anchors = calls.get(point.site, [])
            if point.call is not None:
                anchors = anchors[point.call : point.call + 1]
        for anchor in anchors:
            if point.opened and anchor not in ends:
                _append_tail(graph, anchor, point.site, tails)
            if point.layer is None:
                ends.setdefault(anchor, anchor)
                continue
            if point.before:
                cleared += _insert_before(graph, anchor, point, tree)
                continue
            last = ends.get(anchor, anchor)
            with graph.inserting_after(_after_placeholders(graph, last)):
                node = graph.call_module(point.layer, (last,))
            last.replace_all_uses_with(node, delete_user_cb=functools.partial(operator.is_not, node))
            ends[anchor] = node
            cleared += _protect(graph, node, tree)
            cleared += _protect(graph, last, tree)
    graph.lint()
    return cleared


def _insert_before(graph: fx.Graph, anchor: fx.Node, point: Point, tree: nn.Module) -> list[str]:
    """Call the layer on what the module is given first; one that is inserted later stands nearer to the module."""
    source = anchor.args[0] if anchor.args else None
    if not isinstance(source, fx.Node):
        raise TraceError(
            f"{point.site} is called without a tensor as its first argument: nothing can stand before it"
        )
    with graph.inserting_before(anchor):
        node = graph.call_module(str(point.layer), (source,))
    anchor.args = (node, *anchor.args[1:])
    return _protect(graph, node, tree) + _protect(graph, source, tree)


def _restate(node: fx.Node, tree: nn.Module) -> None:
    """The class of the module that is called now, in what torch.export says of where a computation comes from."""
    stack = node.meta.get("nn_module_stack")
    if stack:
        kind = type(tree.get_submodule(str(node.target)))
        node.meta["nn_module_stack"] = type(stack)(
            (k, (path, kind if path == node.target else old)) for k, (path, old) in stack.items()
        )


def _append_tail(graph: fx.Graph, anchor: fx.Node, site: str, tails: dict[str, list[fx.Node]]) -> None:
    # the fused module's argument has a name of its own, and the plain norm's another
    anchor.args, anchor.kwargs = (*anchor.args, *anchor.kwargs.values()), {}
    last = anchor
    for part in TAIL:
        with graph.inserting_after(last):
            node = graph.call_module(f"{site}.{part}", (last,))
        last.replace_all_uses_with(node, delete_user_cb=functools.partial(operator.is_not, node))
        last = node
    tails.setdefault(site, []).append(last)


def _after_placeholders(graph: fx.Graph, node: fx.Node) -> fx.Node:
    if node.op != "placeholder":
        return node
    return [n for n in graph.nodes if n.op == "placeholder"][-1]


def _protect(graph: fx.Graph, node: fx.Node, tree: nn.Module, depth: int = 0) -> list[str]:
    """Make the consumers of `node`, and of its views, leave its memory alone."""
    cleared: list[str] = []
    for user in list(node.users):
        if user.op == "call_module":
            module = tree.get_submodule(str(user.target))
            if getattr(module, "inplace", False) is True:
                setattr(module, "inplace", False)
                cleared.append(str(user.target))
            elif isinstance(module, (nn.Identity, nn.Flatten)) or "Drop" in type(module).__name__:
                cleared += _protect(graph, user, tree, depth + 1) if depth < 8 else []
        elif user.op == "call_function" and user.target in _IN_PLACE and user.args[0] is node:
            user.target = _IN_PLACE[user.target]
        elif user.op == "call_function" and user.kwargs.get("inplace") is True:
            user.kwargs = {**user.kwargs, "inplace": False}
        elif user.op == "call_method" and user.args[0] is node:
            name = str(user.target)
            if name.endswith("_") and not name.endswith("__"):
                with graph.inserting_before(user):
                    copy = graph.call_method("clone", (node,))
                user.replace_input_with(node, copy)
            elif name in _ALIAS_METHODS and depth < 8:
                cleared += _protect(graph, user, tree, depth + 1)
    return cleared


def check_visible(graphs: Iterable[fx.Graph], points: Iterable[Point]) -> None:
    """Every edited module must be called in at least one of the graphs: else an edit would have no effect."""
    called = {str(n.target) for g in graphs for n in g.nodes if n.op == "call_module"}
    for point in points:
        if point.layer is not None and point.layer not in called:
            raise TraceError(f"{point.site or 'input'} is not called where the traced graph can show it")
