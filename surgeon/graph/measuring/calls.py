"""How one module calls another: which arguments are tensors, and what the others are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from surgeon.graph.measuring.signatures import placeholders
from surgeon.graph.measuring.traced import Example


@dataclass(frozen=True)
class Given:
    """The arguments of a call by name: `shapes` of tensors, batch included, and `values` of what is plain."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def example(self, module: nn.Module) -> Example:
        """The shapes of the inputs of the module's graph, in order; None for an input that was no tensor."""
        names = placeholders(type(module).forward, self.values, tuple(self.shapes))
        return tuple(self.shapes.get(name) for name in names)


def given_to(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
    """How `module` is called with these arguments; values at their defaults are left out."""
    signature = inspect.signature(type(module).forward)
    try:
        arguments = dict(signature.bind(module, *args, **kwargs).arguments)
    except TypeError:  # its forward was exchanged on the object
        return Given()
    for p in signature.parameters.values():
        if p.kind is p.VAR_KEYWORD:
            arguments |= arguments.pop(p.name, {})
        elif p.kind is p.VAR_POSITIONAL:
            arguments.pop(p.name, None)
    defaults = {p.name: p.default for p in signature.parameters.values()}
    shapes = {n: tuple(v.shape) for n, v in arguments.items() if isinstance(v, torch.Tensor)}
    values = {
        n: v
        for n, v in list(arguments.items())[1:]
        if n not in shapes and _is_plain(v) and v is not defaults.get(n, _NONE)
    }
    return Given(shapes, values)


_NONE = object()


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple) and type(value) in (tuple, torch.Size):
        return all(_is_plain(v) for v in value)
    return isinstance(value, (int, float, str, type(None)))
