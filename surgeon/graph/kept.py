"""What a network's code leaves on its modules: a graph leaves it there too, at each call.

Losses of blocks, attention maps and the like (`self.aux_loss = h.square().mean()`) are read from the modules after a call. While a network is
traced such an attribute holds a proxy; the graph then gets a call that sets it. What was there before the trace is put back.
"""

from __future__ import annotations

from collections import deque
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import TraceError

_OF_TORCH = frozenset(nn.Module().__dict__)
_PLAIN = (str, int, float, bool, complex, bytes, type(None), type, FunctionType, torch.Tensor, nn.Module)
_MISSING = object()
ITSELF = "_itself"
"""The property of a rewritten network by which its graphs name it."""


@fx.node.has_side_effect
def keep(module: nn.Module, name: str, value: Any) -> None:
    """Set an attribute of a module. Not in a program that is exported, which has no modules, nor where another tracer of torch.fx records."""
    if not (torch.compiler.is_exporting() or _traced(value)):
        setattr(module, name, value)


class Kept:
    """What the modules of one network hold before it is traced."""

    def __init__(self, network: nn.Module) -> None:
        self._root = network
        self._before = {
            m: {k: v for k, v in m.__dict__.items() if k not in _OF_TORCH} for m in network.modules()
        }
        self._tensors = {m: (dict(m._parameters), dict(m._buffers)) for m in self._before}
        self._contents = [
            (v, v.copy())
            for held in self._before.values()
            for v in held.values()
            if isinstance(v, (list, dict, set, deque))
        ]
        self._set: dict[tuple[nn.Module, str], Any] = {}

    def after(self, module: nn.Module, tracer: fx.Tracer) -> None:
        """Have the graph set what the code has set on the module so far.

        Raises TraceError for results that it added to a list or object from before the call, and for a parameter or buffer that it exchanged.
        """
        before = self._before.get(module)
        if before is None:
            return
        for was, now in zip(self._tensors[module], (module._parameters, module._buffers), strict=True):
            for name, tensor in was.items():
                if now.get(name) is not tensor:
                    raise TraceError(f"it puts another tensor in place of its {name}, which a graph would not")
        for name, value in list(module.__dict__.items()):
            if name in _OF_TORCH or isinstance(value, _PLAIN) or not _traced(value):
                continue
            if value is before.get(name, _MISSING):
                raise TraceError(f"it adds results to its {name}, which a graph would do once")
            if value is not self._set.get((module, name), _MISSING):
                self._set[module, name] = value
                path = tracer.path_of_module(module) if module is not self._root else ITSELF
                owner = tracer.graph.create_node("get_attr", path)
                tracer.graph.create_node(
                    "call_function", keep, (owner, name, tracer.create_arg(value)), {}
                )

    def restore(self) -> None:
        """Put back what was there. What the network itself got, such as a tracer's constants, stays for whoever traces it."""
        for module, before in self._before.items():
            now = module.__dict__
            for name in [n for n in now if n not in _OF_TORCH and n not in before and module is not self._root]:
                del now[name]
            for name, value in before.items():
                if now.get(name, _MISSING) is not value:
                    now[name] = value
            for was, held in zip(self._tensors[module], (module._parameters, module._buffers), strict=True):
                if held.keys() != was.keys() or any(held[k] is not was[k] for k in was):
                    held.clear()
                    held.update(was)
        for value, content in self._contents:
            if isinstance(value, (list, deque)):
                if len(value) != len(content) or any(a is not b for a, b in zip(value, content, strict=True)):
                    value.clear()
                    value.extend(content)
            elif value.keys() != content.keys() if isinstance(value, dict) else value != content:
                value.clear()
                value.update(content)


def _traced(value: Any, depth: int = 4) -> bool:
    """Whether a value is, or holds, what a tracer of torch.fx gave."""
    if isinstance(value, fx.Proxy):
        return True
    if isinstance(value, _PLAIN) or not depth:
        return False
    if isinstance(value, (list, tuple, set, deque)):
        inner: Any = value
    elif isinstance(value, dict):
        inner = value.values()
    else:
        inner = getattr(value, "__dict__", {}).values()
    return any(_traced(v, depth - 1) for v in list(inner))
