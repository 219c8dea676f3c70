"""Walking over the modules of a network in whose places other code may have put functions, which torch's own
walks do not pass."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from surgeon.errors import ModelError


def children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules right below one, by name, also one that stands there twice."""
    return ((n, c) for n, c in module._modules.items() if isinstance(c, nn.Module))


def modules(network: nn.Module, *, every_name: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, by the first name that leads to it, in the order of `named_modules`; or by every name."""
    seen: set[int] = set()
    waiting = [("", network)]
    while waiting:
        path, module = waiting.pop()
        if not every_name and id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        prefix = f"{path}." if path else ""
        waiting += reversed([(prefix + n, c) for n, c in children(module)])


def not_modules(network: nn.Module) -> Iterator[str]:
    """The names of what stands among the modules and is not a module."""
    for path, module in modules(network):
        prefix = f"{path}." if path else ""
        yield from (prefix + n for n, c in module._modules.items() if not isinstance(c, nn.Module | None))


def demand_modules(network: nn.Module) -> None:
    """Check that modules alone stand among a network's modules, as torch's walks and traces take for granted.

    Args:
        network: The network.

    Raises:
        ModelError: A function or another object stands there; the first one is named.
    """
    name = next(not_modules(network), None)
    if name is not None:
        kind = network.__dict__.get("_stock_class") or type(network)
        raise ModelError(
            f"{name} of this {kind.__name__} is not an nn.Module: its code can call that, but nobody can walk over its "
            "modules, save them or make graphs of them; put a module there that calls it, or put the module back"
        )
