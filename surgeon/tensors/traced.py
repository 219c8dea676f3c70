"""Layers under torch.fx: a layer is one call in the graph, whichever tracer is used.

Tracers decide by a module's package which modules stay whole, and know only torch.nn. A layer that receives a
proxy puts a call of itself into the graph, so that sizes, modes and noise are decided when the graph runs.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

Proxy = fx.Proxy
"""What stands for a tensor while torch.fx traces."""


def called(layer: nn.Module, x: Any) -> Any:
    """Put a call of a layer into the graph of a proxy.

    Args:
        layer: The layer.
        x: The proxy of its input.

    Returns:
        The proxy of its output.

    Examples:
        >>> from torch.fx import symbolic_trace
        >>> class Halved(nn.Module):
        ...     def forward(self, x):
        ...         return called(self, x) if isinstance(x, Proxy) else x / 2 if x.dim() == 4 else x
        >>> print(symbolic_trace(nn.Sequential(Halved())).code.strip().splitlines()[-2].strip())
        _0 = getattr(self, "0")(input_1);  input_1 = None
    """
    return x.tracer.create_proxy("call_module", x.tracer.path_of_module(layer), (x,), {})
