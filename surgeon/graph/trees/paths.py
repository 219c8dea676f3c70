"""Dotted names of modules, as torch writes them: whether one leads to something."""

from __future__ import annotations

from torch import nn


def has(tree: nn.Module, name: str) -> bool:
    """Say whether there is a module of a name.

    Args:
        tree: The network.
        name: Dotted name.

    Returns:
        Whether there is.
    """
    try:
        tree.get_submodule(name)
    except AttributeError:
        return False
    return True
