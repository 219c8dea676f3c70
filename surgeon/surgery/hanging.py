"""Put the modules of every edit into the tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from surgeon.edits import Edit
from surgeon.errors import SurgeryError, located
from surgeon.graph.bound_hooks import bound_in, hand_over, rebind
from surgeon.graph.module_tree import Displaced, hang, match, open_site, put, shared_in
from surgeon.graph.parameters import take_after
from surgeon.methods.base import Operation
from surgeon.selection import INPUT
from surgeon.tensors.memory_format import lay, memory_format_of


def cut_tree(
    tree: nn.Module,
    edits: Iterable[Edit],
    operations: Mapping[str, Operation],
    displaced: Displaced | None = None,
    recipe: str = "",
    *,
    blank: bool = False,
) -> dict[str, float]:
    """Build every edit's modules and put them into the tree, in place.

    Args:
        tree: The network as a plain tree.
        edits: The edits, in order.
        operations: The operations by key.
        displaced: Collects the modules that are taken out, or None.
        recipe: Name of the recipe, for error messages.
        blank: Weights are loaded afterwards, so that starts do not matter.

    Returns:
        The relative errors of least-squares starts, by site.

    Raises:
        SurgeryError: The network has no module that an edit names. Errors of operations name recipe and site.
    """
    residuals: dict[str, float] = {}
    edits, shared = tuple(edits), shared_in(tree)
    bound = bound_in(tree)
    channels_last = _in_channels_last(tree)
    for edit in edits:
        operation = operations[edit.operation]
        module = None if edit.site == INPUT else _module(tree, edit)
        generator = torch.Generator().manual_seed(edit.seed)
        try:
            # Constructors of modules draw from the global generator: without a seed no cut could be repeated.
            with torch.random.fork_rng(devices=[]):
                torch.random.default_generator.manual_seed(edit.seed)
                cut = (operation.rebuild if blank else operation.build)(edit, module, generator)
        except Exception as error:  # an operation of another package may raise anything
            place = f"{recipe}: " if recipe and recipe != edit.operation else ""
            located(error, f"{place}{edit.operation} at {edit.site}")
            raise
        for made in (cut.replacement, cut.layer) if channels_last else ():
            if made is not None:
                lay(made, torch.channels_last)
        if cut.replacement is not None and module is not None:
            if displaced is not None and edit.site not in displaced.modules:
                displaced.modules[edit.site] = _without_children(module, edits)
            hand_over(module, cut.replacement)
            take_after(cut.replacement, module)
            if next(module.parameters(), None) is None:  # it could not say where the new one belongs
                match(tree, module, cut.replacement)
            put(tree, edit.site, cut.replacement, shared)
        if cut.layer is not None and edit.layer is not None:
            if module is not None:
                open_site(tree, edit.site, shared)
            hang(tree, edit.layer, cut.layer)
        if cut.residual is not None:
            residuals[edit.site] = cut.residual
    rebind(tree, bound)
    return residuals


def _module(tree: nn.Module, edit: Edit) -> nn.Module:
    """Return the module at an edit's site."""
    try:
        return tree.get_submodule(edit.site)
    except AttributeError:
        raise SurgeryError(f"the network has no module {edit.site}, which the plan would edit") from None


def _in_channels_last(tree: nn.Module) -> bool:
    """Say whether the network's kernels are in channels_last, as new modules then should be."""
    return any(memory_format_of(p) == torch.channels_last for p in tree.parameters())


def _without_children(module: nn.Module, edits: Iterable[Edit]) -> nn.Module:
    """Return a module without the layers that surgery inserted below it."""
    import copy

    ours = {e.layer.rpartition(".")[2] for e in edits if e.layer}
    alone = copy.copy(module)
    alone._modules = {k: v for k, v in module._modules.items() if k not in ours}
    return alone
