"""A rewritten network in torch.export is called, as any other module is.

torch.export runs a GraphModule's graph by an interpreter instead: past its hooks, past `forward` with what it makes of
its arguments, and without writing down the module itself, which torch.export.unflatten and pipelining look for. A
rewritten network is one, so that its exporter gets a graph that calls the network.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from surgeon.torch_private import EXPORTER


def called(network: nn.Module, frame: Any) -> fx.Graph | None:
    """A graph that calls the network with the arguments of an export, where `frame` is that of an interpreter
    which torch.export makes to run the network's graph; else None."""
    outer = frame.f_back
    if frame.f_code is not inspect.unwrap(fx.Interpreter.__init__).__code__ or outer is None:
        return None
    if outer.f_globals.get("__name__") != EXPORTER:
        return None
    given, named = outer.f_locals.get("args"), outer.f_locals.get("kwargs")
    if not isinstance(given, tuple) or not isinstance(named, dict):
        return None
    graph = fx.Graph()
    inputs = [graph.placeholder(f"given_{i}") for i in range(len(given))]  # those by name are the last
    first = len(inputs) - len(named)
    kwargs = dict(zip(named, inputs[first:], strict=True))

    def call(*args: Any, **kwargs: Any) -> Any:
        tracer = getattr(get_proxy_mode(), "tracer", None)
        if not isinstance(tracer, fx.Tracer):
            return network(*args, **kwargs)
        # the exporter's own `call_module` leaves a GraphModule out of what it writes down
        return fx.Tracer.call_module(tracer, network, lambda *a, **k: network(*a, **k), args, kwargs)

    graph.output(graph.call_function(call, tuple(inputs[:first]), kwargs))
    return graph
