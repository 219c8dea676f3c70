"""Gradient checkpointing of a traced network: its training graph in segments that are computed again in the
backward pass.

timm's networks do it block by block in Python code, which a graph does not run. Here the graph is cut where few
values are alive, into about as many segments as the root of its number of modules.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.utils.checkpoint import checkpoint

from surgeon.torch_private import NormBase
from surgeon.tree import modules

FLAG = "grad_checkpointing"
"""Attribute of timm's networks and stages by which checkpointing is switched on."""

_IN_PLACE = {
    operator.setitem,
    *(f for n, f in vars(operator).items() if re.fullmatch(r"i(add|sub|mul|truediv|pow|and|or|xor)", n)),
}
Compile = Callable[[fx.Graph], Callable[..., Any]]


@dataclass(frozen=True)
class _Segment:
    """A function of (network, *values called `inputs`) that returns those called `outputs`, or at the end
    the result."""

    run: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def wanted(network: nn.Module) -> bool:
    """Whether checkpointing was switched on, for the network or a part of it."""
    return any(m.__dict__.get(FLAG) for _, m in modules(network))


@contextmanager
def switched_off(network: nn.Module) -> Iterator[None]:
    """While a network is traced, its own code checkpoints nothing; the flags are as before afterwards."""
    flags = [(m, m.__dict__[FLAG]) for m in network.modules() if m.__dict__.get(FLAG)]
    for module, flag in flags:
        module.__dict__[FLAG] = type(flag)()
    try:
        yield
    finally:
        for module, flag in flags:
            module.__dict__[FLAG] = flag


def in_segments(graph: fx.Graph, network: nn.Module, compiled: Compile) -> Callable[..., Any]:
    """A function (network, *inputs) that gives the graph's result and keeps only what passes between its segments.

    Gradients, running statistics and random numbers are those without checkpointing. Under torch.compile it runs
    uncompiled (with `fullgraph=True` that is an error).
    """
    nodes = list(graph.nodes)
    arguments = [n for n in nodes if n.op == "placeholder"]
    body = [n for n in nodes if n.op != "placeholder"]
    segments: list[_Segment] = []
    start = 0
    for end in (*_boundaries(body, network), len(body)):
        segments.append(_segment(body[start:end], end == len(body), compiled))
        start = end

    def forward(self: nn.Module, *inputs: Any) -> Any:
        values = {n.name: v for n, v in zip(arguments, inputs, strict=False)}
        result: Any = None
        for segment in segments:
            given = [values[name] for name in segment.inputs]
            if torch.is_grad_enabled():
                again = partial(_contexts, self)
                # The reentrant way gives no gradients where no input requires one, as of images.
                result = checkpoint(segment.run, self, *given, use_reentrant=False, context_fn=again)
            else:
                result = segment.run(self, *given)
            values.update(zip(segment.outputs, result if segment.outputs else (), strict=True))
        return result

    return torch.compiler.disable(forward)


def _boundaries(body: Sequence[fx.Node], network: nn.Module) -> list[int]:
    """Positions between the nodes to cut at, in order."""
    count = max(2, math.isqrt(sum(n.op == "call_module" for n in body)))
    place = {n: i for i, n in enumerate(body)}
    last = {n: max((place[u] for u in n.users), default=-1) for n in body}
    alive = [0] * (len(body) + 1)  # values that pass a cut before this node
    for node in body:
        # Parameters and buffers are there anyway: reading one before a cut keeps nothing alive.
        if node.op != "get_attr":
            for i in range(place[node] + 1, last[node] + 1):
                alive[i] += 1
    closed: set[int] = set()
    for node in body:
        for first in _overwritten(node, network):
            closed.update(range(place.get(first, -1) + 1, place[node] + 1))
    boundaries: list[int] = []
    half = len(body) / (2 * count)
    for number in range(1, count):
        target = number * len(body) / count
        near = [
            i
            for i in range(1, len(body) - 1)
            if abs(i - target) <= half and i not in closed and i > (boundaries[-1] if boundaries else 0)
        ]
        if near:
            boundaries.append(min(near, key=lambda i: (alive[i], abs(i - target))))
    return boundaries


def _overwritten(node: fx.Node, network: nn.Module) -> Iterator[fx.Node]:
    """The values whose memory a node may overwrite: a segment must not do so to what it was given."""
    if not _in_place(node, network):
        return
    value = node.args[0] if node.args else None
    while isinstance(value, fx.Node):
        yield value
        # A module with weights writes into new memory; one without may hand on its input, or a view of it.
        made_anew = value.op == "call_module" and any(
            True for _ in network.get_submodule(str(value.target)).parameters()
        )
        if made_anew or not value.args:
            return
        value = value.args[0]


def _in_place(node: fx.Node, network: nn.Module) -> bool:
    if node.kwargs.get("inplace"):
        return True
    if node.op == "call_module":
        return any(getattr(m, "inplace", False) for m in network.get_submodule(str(node.target)).modules())
    name = str(getattr(node.target, "__name__", node.target))
    if node.op == "call_method":
        return name.endswith("_") and not name.endswith("__")
    return node.op == "call_function" and (node.target in _IN_PLACE or re.search(r"[^_]_$", name) is not None)


def _segment(nodes: Sequence[fx.Node], ends: bool, compiled: Compile) -> _Segment:
    own, graph = set(nodes), fx.Graph()
    needed: dict[fx.Node, None] = {}
    for node in nodes:
        needed.update((n, None) for n in node.all_input_nodes if n not in own)
    passed = [n for n in needed if n.op != "get_attr"]
    copies: dict[fx.Node, fx.Node] = {n: graph.placeholder(n.name) for n in passed}
    for node in (*(n for n in needed if n.op == "get_attr"), *nodes):
        copies[node] = graph.node_copy(node, lambda n: copies[n])
    leaving = [n for n in nodes if n.op not in ("get_attr", "output") and any(u not in own for u in n.users)]
    if not ends:
        graph.output(tuple(copies[n] for n in leaving))
    names = () if ends else tuple(n.name for n in leaving)
    return _Segment(compiled(graph), tuple(n.name for n in passed), names)


def _contexts(network: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for a segment's first computation, and for its second, which must leave no trace."""
    streams = {
        id(s): s for m in network.modules() if isinstance(s := getattr(m, "stream", None), torch.Generator)
    }
    before: list[torch.Tensor] = []

    @contextmanager
    def first() -> Iterator[None]:
        before.extend(s.get_state() for s in streams.values())
        yield

    @contextmanager
    def second() -> Iterator[None]:
        norms = [m for m in network.modules() if isinstance(m, NormBase) and m.track_running_stats]
        kept = [(m, m.momentum, m.num_batches_tracked) for m in norms]
        now = [s.get_state() for s in streams.values()]
        for norm in norms:
            # The second computation would move the running statistics again. A momentum of 0 leaves them; the counter
            # is raised in place even so, and is therefore raised on a copy.
            norm.momentum = 0.0
            norm.num_batches_tracked = (
                None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
            )
        # The same draws as in the first computation, whose gradients these are.
        for stream, state in zip(streams.values(), before, strict=True):
            stream.set_state(state)
        try:
            yield
        finally:
            for norm, momentum, number in kept:
                norm.momentum, norm.num_batches_tracked = momentum, number
            # Later draws go on where they were, as if the second computation had not been.
            for stream, state in zip(streams.values(), now, strict=True):
                stream.set_state(state)

    return first(), second()
