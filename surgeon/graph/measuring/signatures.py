"""What a method's signature says of its graphs: which arguments are their inputs, and which they hold as constants."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn


def placeholders(
    method: Callable[..., Any], constants: Iterable[str] = (), inputs: Iterable[str] = ()
) -> list[str]:
    """The names of the arguments that become inputs of a graph, in order: those without a default, the
    first one, and `inputs`."""
    parameters = list(inspect.signature(inspect.unwrap(method)).parameters.values())[1:]
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    names = [
        p.name
        for i, p in enumerate(named)
        if p.name in inputs or ((p.default is p.empty or not i) and p.name not in constants)
    ]
    return [*names, *(n for n in inputs if n not in {p.name for p in named})]


def needed_inputs(model: nn.Module) -> list[str]:
    """The names of the arguments that a network's forward cannot do without."""
    parameters = list(inspect.signature(type(model).forward).parameters.values())[1:]
    return [
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def spared_inputs(model: nn.Module) -> list[str]:
    """The names of the arguments after the first that may be tensors and that a network's forward can do without.

    Words and switches are no tensors, nor is what is said to be of another type.
    """
    parameters = list(inspect.signature(type(model).forward).parameters.values())[2:]
    return [p.name for p in parameters if p.default is not p.empty and _may_be_tensor(p)]


def first_input(model: nn.Module) -> str:
    """The name of the argument that a network's image is; "" where its forward names none."""
    named = list(inspect.signature(type(model).forward).parameters.values())[1:2]
    return named[0].name if named and named[0].kind is not named[0].VAR_POSITIONAL else ""


def _may_be_tensor(parameter: inspect.Parameter) -> bool:
    """Whether an argument with a default may be given a tensor."""
    if parameter.annotation is not parameter.empty:
        return "Tensor" in str(parameter.annotation)
    return not isinstance(parameter.default, (bool, str, tuple, list, dict))


def held_arguments(method: Callable[..., Any], inputs: Iterable[str]) -> dict[str, Any]:
    """The arguments of a method that a graph with these inputs holds at their defaults."""
    return {
        name: p.default
        for name, p in inspect.signature(method).parameters.items()
        if name not in inputs and p.default is not p.empty
    }


def takes_more(method: Callable[..., Any]) -> bool:
    """Whether a method takes arguments by names that it does not list."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(method).parameters.values())


def of_one_input(model: nn.Module) -> str:
    """Say how a network of several inputs can be cut at a stated size; "" for one of a single input.

    Args:
        model: The network.

    Returns:
        The advice.
    """
    more = needed_inputs(model)[1:]
    if not more:
        return ""
    return (
        f"to cut it at a size, give {' and '.join(more)} a default in its forward, or cut a module around it whose "
        "forward takes one tensor and parts it, as model(x[:, :3], x[:, 3:]) does, at the size of that"
    )
