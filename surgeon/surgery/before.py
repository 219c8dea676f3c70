"""The structure that a rewritten network has without its surgery, whatever other code changed since."""

from __future__ import annotations

from torch import nn

from surgeon.graph.rewritten.module_tree import bare, close_all, exchange, shared_in, take
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.trees.paths import has
from surgeon.surgery.door import surgery_of


def as_before(model: nn.Module) -> nn.Module:
    """Take the surgery off a network's module tree, to look at its names, classes and shapes.

    Unlike `revert`, it asks nothing of the sites and restores no statistics.

    Args:
        model: The network, which is left as it is.

    Returns:
        A tree of stock classes on the network's own tensors, with the modules that the surgery replaced in their
        places; `model` itself if no part of it has had surgery.

    Raises:
        SurgeryError: The network cannot be copied.
    """
    record = surgery_of(model)
    if record is None and not any(isinstance(m, Rewritten) for m in model.modules()):
        return model
    tree, displaced = bare(model, share=True)
    for edit in reversed(record.edits if record else ()):
        if edit.layer and has(tree, edit.layer):
            take(tree, edit.layer)
    shared = shared_in(tree)
    for site, module in displaced.modules.items():
        if has(tree, site):
            exchange(tree, site, module, shared)
    close_all(tree)
    return tree
