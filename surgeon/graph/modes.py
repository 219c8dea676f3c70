"""Each module's own mode, where code passes it on: `F.dropout(x, training=self.training)`.

A graph is traced with all modules in one mode and holds the value of that. Where the two graphs of a network make the same call from
the same module and differ in nothing but such a value, it is taken from the module at each call instead, as the stock code does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import fx

_Call = tuple[str, Any]
_PLAIN = (bool, int, float)


def follow_modes(train: fx.Graph, evaluation: fx.Graph) -> None:
    """Have both graphs ask modules for their mode where their calls differ by it. The mode of the network itself chooses the graph."""
    others = _calls(evaluation)
    for call, nodes in _calls(train).items():
        for node, other in zip(nodes, others.get(call, ()), strict=False):
            if len(nodes) == len(others[call]):
                _follow(call[0], node, other)


def by_mode(training: bool, in_training: Any, in_evaluation: Any) -> Any:
    """What a call is given in the present mode of the module that makes it."""
    return in_training if training else in_evaluation


def _calls(graph: fx.Graph) -> dict[_Call, list[fx.Node]]:
    """The calls of functions inside modules below the root, by that module's name and the function, in order."""
    found: dict[_Call, list[fx.Node]] = {}
    for node in graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if node.op == "call_function" and stack:
            owner = str(next(reversed(stack.values()))[0])
            if owner:
                found.setdefault((owner, node.target), []).append(node)
    return found


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
