"""What code does with functions in place of modules: convolutions such as F.conv2d on weights of no module, where
nothing can be cut, and functions that read a parameter of a module beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import fx, nn
from torch.overrides import TorchFunctionMode

from surgeon.graph.places.owners import owner_of
from surgeon.graph.places.read_weights import CONVOLUTIONS, reads_values, weights_read, why_beside
from surgeon.graph.trees.leaves import is_convolution, is_pool


class FunctionWatch(TorchFunctionMode):
    """While it is on, notes in `found` each convolution function called by a module that is neither a convolution
    nor a pool.

    found: dotted name of the module → what it calls, and at which line of which file. read: dotted name of a module
    whose parameter a function in the code of another module reads → why nothing may be folded into it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {id(m): n for n, m in model.named_modules()}
        self.found: dict[str, str] = {}
        self.read: dict[str, str] = {}
        self._owners = {
            id(p): (n, leaf, m)
            for n, m in model.named_modules()
            for leaf, p in m._parameters.items()
            if p is not None
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in CONVOLUTIONS:
            self._note(CONVOLUTIONS[func])
        for place, value in _tensors_in(args, kwargs or {}):
            if id(value) in self._owners:
                self._note_read(func, place, *self._owners[id(value)])
        return func(*args, **(kwargs or {}))

    def _note_read(self, func: Any, place: int, name: str, leaf: str, owner: nn.Module) -> None:
        """Note that a function takes a parameter, unless its own module calls the function."""
        asked = getattr(func, "__self__", None) if func.__name__ == "__get__" else func
        called = str(getattr(asked, "__name__", func.__name__))
        if name in self.read or not reads_values(called, place):
            return
        frame = sys._getframe(2)
        while frame is not None:
            module = frame.f_locals.get("self")
            if isinstance(module, nn.Module) and id(module) in self.names:
                if module is not owner and not any(module is m for m in owner.modules()):
                    self.read[name] = why_beside(called, leaf)
                return
            frame = frame.f_back  # type: ignore[assignment]  # None ends the loop

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
    """The same as found in graphs, also for a network that was not run: name of the module → what it calls.

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


def _tensors_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """The values that a function is given, with their places: by position, by name, and in lists."""
    for place, given in enumerate((*args, *kwargs.values())):
        for value in given if isinstance(given, (list, tuple)) else (given,):
            yield place, value
