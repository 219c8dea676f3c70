"""Carrying a cut into a traced graph: new layers before or after a module's call, or at the network's input."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import fx, nn

from surgeon.errors import TraceError
from surgeon.graph.places.containers import Passage, passages
from surgeon.graph.places.lifting import BRANCH, lift, order_in, read_result
from surgeon.graph.places.read_weights import attended, projection, weights_read
from surgeon.graph.places.recorded import IN_PLACE
from surgeon.graph.trees.fused import TAIL
from surgeon.selection import is_call


@dataclass(frozen=True)
class Point:
    """Where a graph calls an inserted layer, in names relative to the network that owns the graph.

    site: the module after whose calls the layer stands, or those of a function that reads its weight, or the one that
        the graph goes through; or a function's call by its name; "" is the network's input.
    layer: the inserted module, or None if the point only marks an opened module, or a function that a module replaces.
    opened: the site is a fused norm and activation, opened; the layer stands between the two.
    before: the layer is called on the module's first argument, instead of its output.
    call: the only one of the module's calls that gets the layer, from 0 in the graph's order; None for each.
    instead_of: class of the module that the surgery put another one in place of, which with the layer does what that
        one did; "" where the site's module is, but for its weights, the network's.
    """

    site: str
    layer: str | None
    opened: bool = False
    before: bool = False
    call: int | None = None
    instead_of: str = ""


_ALIAS_METHODS = {"view", "reshape", "flatten", "permute", "transpose", "squeeze", "unsqueeze", "contiguous"}


def cut_graph(
    graph: fx.Graph,
    points: Iterable[Point],
    tree: nn.Module,
    *,
    with_input: bool,
    cleared: Iterable[str] = (),
) -> list[str]:
    """Insert the layers of `points` into `graph`, which was traced from `tree` as it stands after the edits.

    Several layers at one site stand in the order of `points`. Operations that would write into an
    inserted layer's output in place are made to write elsewhere: autograd and noise layers keep it.
    `cleared` names the modules whose in-place flag was cleared for other graphs; returns those of this one.
    Layers at the input are inserted only `with_input`, for methods that take the network's input.

    Raises TraceError when an edited module is called in a way the graph does not show.
    """
    points = tuple(points)
    lift(graph, [p.site for p in points], tree)
    tails: dict[str, list[fx.Node]] = {}
    ends: dict[fx.Node, fx.Node] = {}
    for node in list(graph.nodes):
        _read_what_is_written(graph, node, tree, frozenset(cleared))
    cleared = []
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
            _restate(node, tree)
    # Sites that the graph does not call as modules: layers whose weight a function reads, and modules whose code
    # the graph goes through. Both are looked for only where needed, since each walks the whole graph.
    passed: dict[fx.Node, Passage] = {}
    if any(p.site and p.site not in calls for p in points):
        for node, site in weights_read(graph, tree).items():
            calls.setdefault(site, []).append(node)
        for passage in passages(graph, {p.site for p in points if p.site and p.site not in calls}):
            calls.setdefault(passage.name, []).append(passage.gives)
            passed[passage.gives] = passage
    _check_calls(points, calls)
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
                cleared += _insert_before(graph, anchor, point, tree, passed.get(anchor))
                continue
            # torch's attention gives a pair, and the layer goes behind its first item. Several layers at one call are
            # chained, each behind the last one.
            anchor = attended(anchor, tree) or anchor
            last = ends.get(anchor, anchor)
            with graph.inserting_after(_after_placeholders(graph, last)):
                node = graph.call_module(point.layer, (last,))
            last.replace_all_uses_with(node, delete_user_cb=functools.partial(operator.is_not, node))
            ends[anchor] = node
            # Both values must outlive the call: autograd, and layers that measure, keep the layer's input and output.
            cleared += _protect(graph, node, tree)
            cleared += _protect(graph, last, tree)
    graph.lint()
    return cleared


def _check_calls(points: Iterable[Point], calls: Mapping[str, list[fx.Node]]) -> None:
    """Raise TraceError where a graph has only some of a module's calls: it cannot be told which ones."""
    numbers: dict[str, int] = {}
    for point in points:
        if point.call is not None:
            numbers[point.site] = max(numbers.get(point.site, 0), point.call + 1)
    for site, number in numbers.items():
        there = len(calls.get(site, ()))
        if there not in (0, number):
            raise TraceError(
                f"{site} is called {there} times there and {number} times by the whole network, and each call has a "
                "layer of its own: which ones these are cannot be told"
            )


def _insert_before(
    graph: fx.Graph, anchor: fx.Node, point: Point, tree: nn.Module, passage: Passage | None
) -> list[str]:
    """Call the layer on what the module is given first, or on the branch of a residual sum; one that is inserted later
    stands nearer to the module."""
    readers = (anchor,) if passage is None else passage.inside
    source = _source(anchor, passage)
    if source is None:
        raise TraceError(
            f"{point.site} is called without a tensor as its first argument, or inside of attention that is kept "
            "whole: nothing can stand before it"
        )
    with graph.inserting_before(readers[0]):
        node = graph.call_module(str(point.layer), (source,))
    if passage is None:
        place = anchor.meta.get(BRANCH, 0)
        anchor.args = (*anchor.args[:place], node, *anchor.args[place + 1 :])
    else:
        for reader in readers:
            reader.replace_input_with(source, node)
    return _protect(graph, node, tree) + _protect(graph, source, tree)


def _source(anchor: fx.Node, passage: Passage | None) -> fx.Node | None:
    """The value that a layer before a call would be given; None if it is not a single tensor."""
    if passage is not None:
        takes = passage.takes
        return takes[0] if len(takes) == 1 else None
    if anchor.target is operator.getitem or projection(anchor) is not None:
        return None  # attention as a whole, of which the projection is the last step
    place = anchor.meta.get(BRANCH, 0)
    source = anchor.args[place] if len(anchor.args) > place else None
    return source if isinstance(source, fx.Node) else None


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


def _read_what_is_written(graph: fx.Graph, node: fx.Node, tree: nn.Module, cleared: frozenset[str]) -> None:
    """Read the result of an activation that works in place, instead of its input: both are the same memory, and the
    flag may be cleared for another of its calls."""
    if node.op != "call_module" or not node.all_input_nodes:
        return
    module = tree.get_submodule(str(node.target))
    if next(module.children(), None) is not None or next(module.parameters(), None) is not None:
        return  # not an activation: its result may be another value than its input
    if getattr(module, "inplace", False) is True or node.target in cleared:
        read_result(graph, node.all_input_nodes[0], node)


def _protect(graph: fx.Graph, node: fx.Node, tree: nn.Module, depth: int = 0) -> list[str]:
    """Keep the consumers of `node`, and of its views, from writing into its memory.

    What is read after such a write is the written value, as in the stock network's code, where both share their
    memory. If one view is written and another one read, all become views of a copy.
    """
    if not depth and _written_beside(graph, node, tree):
        with graph.inserting_after(node):
            copy = graph.call_method("clone", (node,))
        node.replace_all_uses_with(copy, delete_user_cb=functools.partial(operator.is_not, copy))
        return []
    cleared: list[str] = []
    place = order_in(graph) if len(node.users) > 1 else {}
    for user in sorted(node.users, key=place.__getitem__) if place else list(node.users):
        if node not in user.all_input_nodes:  # it reads what an earlier one has written
            continue
        if user.op == "call_module" and not _writes(user, node, tree):
            module = tree.get_submodule(str(user.target))
            if isinstance(module, (nn.Identity, nn.Flatten)) or "Drop" in type(module).__name__:
                cleared += _protect(graph, user, tree, depth + 1) if depth < 8 else []
            continue
        if _is_view(user, node):
            cleared += _protect(graph, user, tree, depth + 1) if depth < 8 else []
            continue
        if not _writes(user, node, tree):
            continue
        if user.op != "call_module":
            read_result(graph, node, user)
        if user.op == "call_module":
            setattr(tree.get_submodule(str(user.target)), "inplace", False)
            cleared.append(str(user.target))
        elif user.op == "call_method":
            with graph.inserting_before(user):
                copy = graph.call_method("clone", (node,))
            user.replace_input_with(node, copy)
        elif user.target in IN_PLACE:
            user.target = IN_PLACE[user.target]
        else:
            user.kwargs = {**user.kwargs, "inplace": False}
    return cleared


def _writes(user: fx.Node, node: fx.Node, tree: nn.Module) -> bool:
    """Whether a node writes into the memory of its argument, and returns it."""
    if user.op == "call_module":
        module = tree.get_submodule(str(user.target))
        return getattr(module, "inplace", False) is True
    if user.op == "call_method":
        name = str(user.target)
        return user.args[0] is node and name.endswith("_") and not name.endswith("__")
    if user.op != "call_function":
        return False
    return (user.target in IN_PLACE and user.args[0] is node) or user.kwargs.get("inplace") is True


def _is_view(user: fx.Node, node: fx.Node) -> bool:
    return user.op == "call_method" and user.args[0] is node and user.target in _ALIAS_METHODS


def _written_beside(graph: fx.Graph, node: fx.Node, tree: nn.Module) -> bool:
    """Whether a value or a view of it is written in place, and another of them is read afterwards."""
    views = [node]
    for view in views:  # grows meanwhile
        views += [u for u in view.users if _is_view(u, view)]
    if len(views) == 1:
        return False
    place = order_in(graph)
    return any(
        place[reader] > place[writer]
        for written in views
        for writer in written.users
        if _writes(writer, written, tree)
        for read in views
        if read is not written
        for reader in read.users
    )


def check_visible(graphs: Iterable[fx.Graph], points: Iterable[Point], whole: Mapping[str, str]) -> None:
    """Every edited module must be called in at least one of the graphs: else an edit would have no effect.

    whole: what the graphs call whole because no trace could go into it, with the reasons.
    """
    called = {str(n.target) for g in graphs for n in g.nodes if n.op == "call_module"}
    for point in points:
        name = point.site if is_call(point.site) and point.layer is None else point.layer
        if name is not None and name not in called:
            around = next((n for n in whole if point.site.startswith(f"{n}.")), None)
            because = f": {around}, which holds it, cannot be traced ({whole[around]})" if around else ""
            raise TraceError(
                f"{point.site or 'input'} is not called where the traced graph can show it{because}"
            )
