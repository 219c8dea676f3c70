"""In which module a call was computed, for tracers of torch.fx that write it down.

torchvision's feature extractors, and timm's on them, name every function of a network by the module whose code calls
it: `layer1.0.add`. By those names a container, `layer1`, means the last call in it. A rewritten network's graphs call
the layers and functions of all containers themselves, so that functions would have no module's name, and a container
would end before its last function: at `x` in a block that gives `x + shortcut`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import fx, nn
from torch.fx.proxy import TracerBase

from surgeon.graph.places.owners import owner_of

_WHERE = "current_module_qualname"
"""Where a tracer has the path of the module whose code runs."""


def writer(values: Iterable[Any]) -> TracerBase | None:
    """The tracer that records a call with these arguments, where it writes down the module of each function; else
    None."""
    tracers = (v.tracer for v in values if isinstance(v, fx.Proxy))
    return next((t for t in tracers if isinstance(getattr(t, _WHERE, None), str)), None)


def run_placed(network: nn.Module, graph: fx.Graph, inputs: Iterable[Any], tracer: TracerBase) -> Any:
    """Run a graph of a network under another tracer, which is told of each function in which module it was called."""
    return _Placing(network, graph, tracer).run(*inputs)


class _Placing(fx.Interpreter):
    def __init__(self, network: nn.Module, graph: fx.Graph, tracer: TracerBase) -> None:
        super().__init__(network, graph=graph)
        self.tracer = tracer
        self.root = getattr(tracer, _WHERE)  # the network may be a part of another

    def run_node(self, n: fx.Node) -> Any:
        _, path = owner_of(n)
        setattr(self.tracer, _WHERE, ".".join(p for p in (self.root, path) if p))
        try:
            return super().run_node(n)
        finally:
            setattr(self.tracer, _WHERE, self.root)
