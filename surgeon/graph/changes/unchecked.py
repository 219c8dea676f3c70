"""Code that was never compared with its graphs: classes from outside the libraries that the sweep over all models
runs."""

from __future__ import annotations

from typing import Any

from torch import nn

from surgeon.graph.trees.leaves import is_leaf

CHECKED = ("torch", "torchvision", "timm", "surgeon")
"""Libraries each of whose models is cut and compared with the stock network (`benchmarks/sweep`)."""


def unchecked(network: nn.Module) -> list[str]:
    """The modules of a network, by name, whose code a graph would replace and which belong to no checked
    library."""
    named = network.named_modules(remove_duplicate=False)
    return [n for n, m in named if not is_leaf(m) and not is_checked(m)]


def is_checked(module: nn.Module) -> bool:
    """Whether all the code that a module runs when it is called is of a checked library."""
    kind = type(module)
    return (
        "forward" not in module.__dict__
        and _of_library(kind.__module__)
        and all(_of_library(_home(getattr(kind, name))) for name in ("forward", "__call__"))
    )


def _home(function: Any) -> str:
    return str(getattr(function, "__module__", "") or "")


def _of_library(module: str) -> bool:
    return module.partition(".")[0] in CHECKED
