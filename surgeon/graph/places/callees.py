"""What a graph calls that may be a site: modules by their names, and functions by the module whose code calls them.

`conv1.relu()` is the call of relu in the code of `conv1`, and `conv1.relu_2()` the second one there. In a rewritten
network such a call is that of a module with this name, a child of conv1, so that a layer can hang to it and another
module can take its place (`lifting.py`). No module of a network's own is called so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import fx, nn

from surgeon.graph.places.attention import parts_of
from surgeon.graph.places.containers import passages
from surgeon.graph.places.function_names import function_of, module_of
from surgeon.graph.places.owners import owner_of
from surgeon.graph.places.read_weights import attended, weights_read
from surgeon.graph.places.residual import branches, sum_of
from surgeon.selection import Parts

Mode = Literal["train", "eval"]
MODES: tuple[Mode, ...] = ("train", "eval")


@dataclass(frozen=True)
class FunctionCall:
    """A call of a function: the path of the module whose code makes it, the function, and which of its calls there,
    from 1."""

    owner: str
    function: str
    number: int

    @property
    def name(self) -> str:
        call = f"{self.function}()" if self.number == 1 else f"{self.function}_{self.number}()"
        return f"{self.owner}.{call}" if self.owner else call


@dataclass(frozen=True)
class Place:
    """One call in a graph: its name, its node, and the module that is called, or for a function one that gives
    the same.

    read: the module is not called: a function is, which reads its weight.
    parts: of attention, its layers; the node is what the attention gives.
    branch: the place of the argument that a layer before it takes: of a residual sum the branch.
    """

    name: str
    node: fx.Node
    module: nn.Module
    call: FunctionCall | None = None
    read: bool = False
    parts: Parts | None = None
    branch: int = 0


def places(graph: fx.Graph, network: nn.Module) -> Iterator[Place]:
    """What the graph of a network calls, in order."""
    read = weights_read(graph, network)
    called = {p.node: p for p in functions(graph, network)}
    parts = {n: p for n, m in network.named_modules(remove_duplicate=False) if n and (p := parts_of(m, n))}
    whole = attention(graph, network, parts)
    for node in graph.nodes:
        if node.op == "call_module" and node.target not in parts:
            yield Place(str(node.target), node, network.get_submodule(str(node.target)))
        elif node in read:
            yield Place(read[node], node, network.get_submodule(read[node]), read=True)
        elif node in called:
            yield called[node]
        yield from whole.get(node, ())


def functions(graph: fx.Graph, network: nn.Module) -> Iterator[Place]:
    """Activations that the graph of a network calls as functions, and its residual sums, in order."""
    sums = branches(graph, network)
    numbers: Counter[tuple[str, str]] = Counter()
    for node in graph.nodes:
        name = "add" if node in sums else function_of(node)
        module = sum_of(node) if node in sums else module_of(node)
        if module is not None:
            key, owner = owner_of(node)
            numbers[key, name] += 1
            call = FunctionCall(owner, name, numbers[key, name])
            yield Place(call.name, node, module, call, branch=sums.get(node, 0))


def attention(graph: fx.Graph, network: nn.Module, parts: dict[str, Parts]) -> dict[fx.Node, list[Place]]:
    """Attention modules, by the node that each one gives: inner ones first. parts: their layers, by their names."""
    by_node: dict[fx.Node, list[Place]] = {}
    for node in graph.nodes if parts else ():
        if node.op == "call_module" and str(node.target) in parts:
            gives = attended(node, network) if _torchs(network, node) else node
            if gives is not None:
                _note(by_node, str(node.target), gives, network, parts)
    for passage in passages(graph, parts):
        _note(by_node, passage.name, passage.gives, network, parts)
    for here in by_node.values():
        here.sort(key=lambda p: -p.name.count("."))
    return by_node


def _torchs(network: nn.Module, node: fx.Node) -> bool:
    return isinstance(network.get_submodule(str(node.target)), nn.MultiheadAttention)


def _note(
    by_node: dict[fx.Node, list[Place]],
    name: str,
    gives: fx.Node,
    network: nn.Module,
    parts: dict[str, Parts],
) -> None:
    place = Place(name, gives, network.get_submodule(name), parts=parts[name])
    by_node.setdefault(gives, []).append(place)


def indistinct(train: Iterable[Place], evaluation: Iterable[Place]) -> set[str]:
    """Names of calls that cannot be matched between the modes: a module's code calls a function more often in one
    of them."""
    ours, theirs = _most(train), _most(evaluation)
    return {
        FunctionCall(owner, function, i + 1).name
        for owner, function in ours.keys() & theirs.keys()
        if ours[owner, function] != theirs[owner, function]
        for i in range(max(ours[owner, function], theirs[owner, function]))
    }


def _most(places: Iterable[Place]) -> dict[tuple[str, str], int]:
    most: dict[tuple[str, str], int] = {}
    for call in (p.call for p in places if p.call):
        most[call.owner, call.function] = max(most.get((call.owner, call.function), 0), call.number)
    return most
