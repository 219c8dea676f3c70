"""One graph of one method in one mode, started again for each module in which tracing fails.

torch.fx gives up where a module's code asks for what a proxy does not know. Such a module, and all of its
class, is then kept whole, and the trace begins anew, until nothing fails any more.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import TraceError
from surgeon.graph.measuring.faults import of_a_layer, one_line
from surgeon.graph.measuring.traced import PLAIN_CONSTANT, Asked
from surgeon.graph.places.recorded import elsewhere_where_unseen
from surgeon.graph.tracing.tracer import LeafTracer
from surgeon.graph.tracing.watch import Watch

_MOST_RETRIES = 64
_here = threading.local()


def tracing() -> bool:
    """Whether a trace by surgeon is under way in this thread."""
    return getattr(_here, "traces", 0) > 0


def trace_once(
    model: nn.Module,
    tracer: Callable[[Iterable[str]], LeafTracer],
    leaves: Iterable[str],
    opaque: dict[str, str],
) -> tuple[fx.Graph, dict[str, torch.Tensor], Asked]:
    """The graph of a network in its present mode, the tensors that its code made on the way, and what it asked for.

    opaque: modules that stay whole (dotted name → reason), to which those are added in which tracing fails.
    Raises TraceError where the code that fails is not a module's, which could stay whole.
    """
    for _ in range(_MOST_RETRIES):
        started = tracer({*leaves, *opaque})
        method = started.traced_func_name
        before = set(model.__dict__)
        made: dict[str, torch.Tensor] = {}
        own: dict[str, str] = {}
        # Counted, and not a flag: a trace may begin while another is under way.
        _here.traces = getattr(_here, "traces", 0) + 1
        try:
            graph = started.trace(model)
            graph._tracer_cls = None
            elsewhere_where_unseen(graph)
            own = _named_by_origin(graph, model, before, started.watch)
            _follow_device(graph, next((p.device for p in model.parameters()), None))
            for node in graph.nodes:
                # The example's values have served; kept, they would be copied and pickled with the graph.
                node.meta.pop("value", None)
            opaque.update(started.hooked)
            return graph, made, started.asked.found
        except Exception as error:  # the network's own code, under proxies
            if of_a_layer(error):
                raise
            if started.failed is None:
                raise TraceError(
                    f"{type(model).__name__}.{method} cannot be traced: {_with_values(one_line(error), started)}"
                ) from error
            name, cause = started.failed
            kind = type(model.get_submodule(name))
            opaque.update({n: one_line(cause) for n, m in model.named_modules() if type(m) is kind and n})
        finally:
            _here.traces -= 1
            # torch.fx leaves constants on the network under names of its own
            for key in [k for k in model.__dict__ if k not in before]:
                value = model.__dict__.pop(key)
                if isinstance(value, torch.Tensor):
                    made[own.get(key, key)] = value
    raise TraceError(f"{type(model).__name__} has too many parts that cannot be traced: {sorted(opaque)[:5]}")


def _with_values(text: str, tracer: LeafTracer) -> str:
    """A message of the network's own code with the values of the example in the place of what stood for them."""
    values = {n.name: n.meta["value"] for n in tracer.graph.nodes if "value" in n.meta}

    def value(match: re.Match[str]) -> str:
        known = values.get(match[1])
        return match[0] if known is None or isinstance(known, torch.Tensor) else str(known)

    return re.sub(r"Proxy\((\w+)\)", value, text)


def _named_by_origin(graph: fx.Graph, model: nn.Module, before: set[str], watch: Watch) -> dict[str, str]:
    """Give tensors that the code made of numbers alone names of their own.

    They keep their precision, whatever becomes of the network's.
    """
    names: dict[str, str] = {}
    for node in [n for n in graph.nodes if n.op == "get_attr" and n.target not in before]:
        key = str(node.target)
        value = model.__dict__.get(key)
        if isinstance(value, torch.Tensor) and watch.left_by_a_run(value):
            raise TraceError(
                "it reads a tensor that an earlier run left outside of the network, as a hook does that keeps what a "
                "module gave: a graph would hold it for ever"
            )
        # Made of weights, a tensor follows them into another precision; made of numbers alone, it keeps its own.
        if isinstance(value, torch.Tensor) and not watch.made_of_network(value):
            names[key] = key.replace("_tensor_constant", PLAIN_CONSTANT)
            node.target = names[key]
    return names


def _follow_device(graph: fx.Graph, device: torch.device | None) -> None:
    """Make the device that the network was traced on that of the input, so that the graph can be moved to another.

    Code such as `x.to(self.periods.device)` leaves the device itself in the graph.
    """
    first = next((n for n in graph.nodes if n.op == "placeholder"), None)
    if first is None or device is None:
        return

    def has(value: Any) -> bool:
        return isinstance(value, torch.device) and value == device

    for node in list(graph.nodes):
        given = [*node.args, *node.kwargs.values()]
        if node.op in ("call_function", "call_method") and any(has(v) for v in given):
            with graph.inserting_before(node):
                # The input's device, since a moved network is called with inputs of its new device.
                present = graph.call_function(getattr, (first, "device"))
            node.args = tuple(present if has(a) else a for a in node.args)
            node.kwargs = {k: present if has(v) else v for k, v in node.kwargs.items()}
