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
from surgeon.torch_private import tree_leaves

_WHERE = "current_module_qualname"
"""Where a tracer has the path of the module whose code runs."""
_WRAPPED = "is_wrapped"
"""By what torch.fx marks the call of a function under `torch.fx.wrap`."""


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
            return self._recorded(n) if self._is_one_call(n) else super().run_node(n)
        finally:
            setattr(self.tracer, _WHERE, self.root)

    def _is_one_call(self, n: fx.Node) -> bool:
        """Whether a tracer records a function as one call, and does not go into its code: it wraps such functions where
        code looks them up by name, which a graph does not."""
        wrapped = getattr(self.tracer, "_autowrap_function_ids", ())
        return n.op == "call_function" and (_WRAPPED in n.meta or id(n.target) in wrapped)

    def _recorded(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if not any(isinstance(v, fx.Proxy) for v in tree_leaves((args, kwargs))):
            return super().run_node(n)
        made = self.tracer.create_proxy("call_function", n.target, args, kwargs)
        made.node.meta[_WRAPPED] = True
        return made
