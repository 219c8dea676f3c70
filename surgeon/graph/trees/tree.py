"""Walking over the modules of a network in whose places other code may have put functions, which torch's own
walks do not pass."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules right below one, by name, also one that stands there twice."""
    return ((n, c) for n, c in module._modules.items() if isinstance(c, nn.Module))


def modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, by the first name that leads to it, in the order of `named_modules`."""
    seen: set[int] = set()
    waiting = [("", network)]
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
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
