"""Layers without which the module in their site does not do its part, in force where a plain tree is run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

from surgeon.edits import Edit
from surgeon.graph.trees.paths import has
from surgeon.selection import is_call


def belonging(tree: nn.Module, edits: Iterable[Edit]) -> list[Edit]:
    """Return the edits whose layer and replacement make their site's function together, as a blur and what it strides.

    Stock code calls no inserted layer. Without those that only add something to a site, such as noise, shapes are the
    same; without these they are not.

    Args:
        tree: The network as a plain tree, with inserted layers still in it.
        edits: The edits of its record.

    Returns:
        Those that are in the tree.
    """
    return [
        e
        for e in edits
        if e.replaces
        and e.layer
        and e.call is None
        and not is_call(e.site)
        and has(tree, e.site)
        and has(tree, e.layer)
    ]


@contextlib.contextmanager
def in_force(tree: nn.Module, edits: Iterable[Edit]) -> Iterator[None]:
    """Have stock code that calls a site's module call the layer with it.

    Args:
        tree: The network as a plain tree.
        edits: What `belonging` returned for it.

    Yields:
        Nothing.
    """
    hooks = []
    for edit in edits:
        module, layer = tree.get_submodule(edit.site), tree.get_submodule(str(edit.layer))
        hooks.append(
            module.register_forward_pre_hook(_before(layer))
            if edit.before
            else module.register_forward_hook(_behind(layer))
        )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _before(layer: nn.Module) -> Callable[..., Any]:
    return lambda module, args: (layer(args[0]), *args[1:])


def _behind(layer: nn.Module) -> Callable[..., Any]:
    return lambda module, args, output: layer(output)
