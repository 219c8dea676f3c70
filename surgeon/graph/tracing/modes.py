"""Each module's own mode, where code passes it on: `F.dropout(x, training=self.training)`.

A graph is traced with all modules in one mode and holds the value of that. Where the two graphs of a network
make the same call from the same module and differ in nothing but such a value, it is taken from the module at
each call instead, as the stock code does. Where a module makes other calls in the other mode, the graphs have
one or the other, and warn when the module is not in theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import fx

from surgeon.warned import warn

_Call = tuple[str, Any]
_PLAIN = (bool, int, float)


def follow_modes(train: fx.Graph, evaluation: fx.Graph, asked: Iterable[tuple[str, str]] = ()) -> None:
    """Have both graphs ask modules for their mode where their calls differ by it. The mode of the network
    itself chooses the graph.

    asked: attributes that the code of other modules read, as (module, attribute)."""
    others = _calls(evaluation)
    for call, nodes in _calls(train).items():
        for node, other in zip(nodes, others.get(call, ()), strict=False):
            if len(nodes) == len(others[call]):
                _follow(call[0], node, other)
    ours, theirs = _made_by(train), _made_by(evaluation)
    differ = [o for o in ours if o in theirs and ours[o] != theirs[o]]
    for owner in dict.fromkeys((*differ, *(path for path, name in asked if name == "training"))):
        for graph, training in ((train, True), (evaluation, False)):
            _watch(graph, owner, training)


def by_mode(training: bool, in_training: Any, in_evaluation: Any) -> Any:
    """What a call is given in the present mode of the module that makes it."""
    return in_training if training else in_evaluation


@fx.node.has_side_effect
def tell_mode(name: str, training: bool, wanted: bool) -> None:
    """Warn where a module whose code branches on its mode is in another one than its graph was made in."""
    if training != wanted:
        here, there = ("evaluation", "training") if wanted else ("training", "evaluation")
        warn(
            f"{name} is in {here} mode and the rewritten network around it in {there} mode, "
            f"and the code makes other calls by the "
            f"mode of {name}: it runs here as in {there} mode; put both in one mode",
        )


def _watch(graph: fx.Graph, owner: str, training: bool) -> None:
    first = next(n for n in graph.nodes if n.op != "placeholder")
    with graph.inserting_before(first):
        mode = graph.call_function(getattr, (graph.create_node("get_attr", owner), "training"))
        graph.call_function(tell_mode, (owner, mode, training))


def _made_by(graph: fx.Graph) -> dict[str, list[_Call]]:
    """What each module below the root calls itself, in order; a module that it calls and that is kept
    whole is one call."""
    calls: dict[str, list[_Call]] = {}
    for node in graph.nodes:
        stack = [str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        if node.op == "call_module" and stack and stack[-1] == node.target:
            stack.pop()
        if stack and stack[-1] and node.op not in ("placeholder", "get_attr", "output"):
            calls.setdefault(stack[-1], []).append((node.op, _named(node.target)))
    return calls


def _named(target: Any) -> str:
    """A name for what is called that is the same in both traces, also where a function was made for one of them."""
    return target if isinstance(target, str) else getattr(target, "__qualname__", type(target).__name__)


def _calls(graph: fx.Graph) -> dict[_Call, list[fx.Node]]:
    """The calls of functions inside modules below the root, by that module's name and the function, in order."""
    nodes: dict[_Call, list[fx.Node]] = {}
    for node in graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if node.op == "call_function" and stack:
            owner = str(next(reversed(stack.values()))[0])
            if owner:
                nodes.setdefault((owner, node.target), []).append(node)
    return nodes


def _follow(owner: str, train: fx.Node, evaluation: fx.Node) -> None:
    places = list(_places(train, evaluation))
    if not places:
        return
    for node in (train, evaluation):
        graph = node.graph
        with graph.inserting_before(node):
            module = graph.create_node("get_attr", owner)
            mode = graph.call_function(getattr, (module, "training"))
            for place, one, other in places:
                value = (
                    mode
                    if (one, other) == (True, False)
                    else graph.call_function(by_mode, (mode, one, other))
                )
                if isinstance(place, int):
                    node.update_arg(place, value)
                else:
                    node.update_kwarg(place, value)


def _places(train: fx.Node, evaluation: fx.Node) -> Iterator[tuple[int | str, Any, Any]]:
    if len(train.args) != len(evaluation.args) or train.kwargs.keys() != evaluation.kwargs.keys():
        return
    pairs: list[tuple[int | str, Any, Any]] = [
        *((i, a, b) for i, (a, b) in enumerate(zip(train.args, evaluation.args, strict=True))),
        *((k, a, evaluation.kwargs[k]) for k, a in train.kwargs.items()),
    ]
    yield from ((k, a, b) for k, a, b in pairs if type(a) is type(b) and type(a) in _PLAIN and a != b)
