"""Layers under torch.fx, whoever traces: a layer is one call in the graph, as torch's own layers are.

Tracers decide by a module's home what stays whole, and know torch.nn alone. A layer that is given a proxy puts the call of itself into
the graph, so that sizes, modes and noise are looked at when the graph runs.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

Proxy = fx.Proxy


def called(layer: nn.Module, x: Any) -> Any:
    """The call of `layer` on the proxy `x`, in the graph that the proxy belongs to; a proxy."""
    return x.tracer.create_proxy("call_module", x.tracer.path_of_module(layer), (x,), {})
