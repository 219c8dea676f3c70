"""Convolutions that are called as functions, such as F.conv2d: no module stands there, so that nothing can be cut."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from surgeon.graph.leaves import is_convolution, is_pool

_NAMES = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_FUNCTIONS = {getattr(home, name): name for home in (torch, functional) for name in _NAMES}


class Watch(TorchFunctionMode):
    """While it is on, notes in `found` each convolution that another module than a convolution or a pool calls.

    found: dotted name of the module → what it calls, and at which line of which file.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {id(m): n for n, m in model.named_modules()}
        self.found: dict[str, str] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FUNCTIONS:
            self._note(_FUNCTIONS[func])
        return func(*args, **(kwargs or {}))

    def _note(self, called: str) -> None:
        frame, line = sys._getframe(2), ""
        while frame is not None:
            module = frame.f_locals.get("self")
            if not line and "torch" not in Path(frame.f_code.co_filename).parts:
                line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            if isinstance(module, nn.Module) and id(module) in self.names:
                if not is_convolution(module) and not is_pool(module):
                    self.found.setdefault(self.names[id(module)], f"{called} at {line or 'a place unknown'}")
                return
            frame = frame.f_back  # type: ignore[assignment]  # None ends the loop


def functional_convolutions(regions: Iterable[tuple[str, Iterable[fx.Graph]]]) -> dict[str, str]:
    """The same from graphs alone, for a network that was not run: dotted name of the module → what it calls."""
    found: dict[str, str] = {}
    for region, graphs in regions:
        for node in (n for g in graphs for n in g.nodes if n.op == "call_function"):
            if node.target in _FUNCTIONS:
                inner = next(reversed(node.meta.get("nn_module_stack") or {"": None}), "")
                name = ".".join(part for part in (region, str(inner)) if part)
                found.setdefault(name, _FUNCTIONS[node.target])
    return found
