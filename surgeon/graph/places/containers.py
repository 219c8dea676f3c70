"""What a module gives and takes in a graph that goes through it: the graph calls what it calls, and not the module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from surgeon.graph.places.numbers import is_number


@dataclass(frozen=True)
class Passage:
    """One call of a module that a graph goes through: the nodes of its code, and the one that it gives."""

    name: str
    inside: tuple[fx.Node, ...]
    gives: fx.Node

    @property
    def takes(self) -> list[fx.Node]:
        """The values from outside that its code reads, without the network's own tensors."""
        own = set(self.inside)
        given = (n for node in self.inside for n in node.all_input_nodes if n not in own)
        return [n for n in dict.fromkeys(given) if n.op != "get_attr" and not is_number(n)]


def passages(graph: fx.Graph, names: Iterable[str]) -> list[Passage]:
    """The calls of modules of these names in a graph that goes through them. One that gives no value, or several, is
    left out."""
    wanted = set(names)
    inside: dict[tuple[str, str], list[fx.Node]] = {}
    for node in graph.nodes:
        for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
            whole = node.op == "call_module" and node.target == path
            if path in wanted and not whole:
                inside.setdefault((str(key), str(path)), []).append(node)
    result = []
    for (_, name), nodes in inside.items():
        own = set(nodes)
        out = [
            n for n in nodes if n.op != "get_attr" and not is_number(n) and any(u not in own for u in n.users)
        ]
        if len(out) == 1:
            result.append(Passage(name, tuple(nodes), out[0]))
    return result
