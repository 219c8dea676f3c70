"""Whose code a node of a graph comes from."""

from __future__ import annotations

from torch import fx


def owner_of(node: fx.Node) -> tuple[str, str]:
    """Which call of which module a node belongs to: a key of that call, and the module's path; '' for the network."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return "", ""
    key = next(reversed(stack))
    return str(key), str(stack[key][0])
