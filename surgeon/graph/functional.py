"""Convolutions that are called as functions, such as F.conv2d, on weights of no module: nothing can be cut there."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import fx, nn
from torch.overrides import TorchFunctionMode

from surgeon.graph.leaves import is_convolution, is_pool
from surgeon.graph.owners import owner_of
from surgeon.graph.read_weights import CONVOLUTIONS, weights_read


class Watch(TorchFunctionMode):
    """While it is on, notes in `found` each convolution that another module than a convolution or a pool calls.

    found: dotted name of the module → what it calls, and at which line of which file.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {id(m): n for n, m in model.named_modules()}
        self.found: dict[str, str] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in CONVOLUTIONS:
            self._note(CONVOLUTIONS[func])
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


def functional_convolutions(
    model: nn.Module, regions: Iterable[tuple[str, Iterable[fx.Graph]]], ran: Mapping[str, str]
) -> dict[str, str]:
    """The same with what graphs show, for a network that was not run too: name of the module → what it calls.

    Functions that read the weight of one module are left out: that module is a site.

    model: The network. regions: The graphs of its traceable parts. ran: What was `found` while it ran.
    """
    shown: dict[str, str] = {}
    solved: set[str] = set()
    for region, graphs in regions:
        for graph in graphs:
            read = weights_read(graph, model.get_submodule(region))
            for node in graph.nodes:
                if node.op != "call_function" or node.target not in CONVOLUTIONS:
                    continue
                name = ".".join(part for part in (region, owner_of(node)[1]) if part)
                if node in read:
                    solved.add(name)
                else:
                    shown.setdefault(name, CONVOLUTIONS[node.target])
    return {**shown, **{n: r for n, r in ran.items() if n in shown or n not in solved}}
