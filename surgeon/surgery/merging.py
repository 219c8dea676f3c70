"""Merge inserted layers into the modules beside them, edit by edit; what does not merge is listed with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from surgeon.edits import Edit, Plan
from surgeon.errors import FoldError, SurgeonError
from surgeon.graph.rewritten.module_tree import put, shared_in, take
from surgeon.graph.rewritten.shared_parameters import read_by_functions
from surgeon.graph.trees.lost_hooks import has_hooks, move_hooks
from surgeon.graph.trees.made_weights import settled
from surgeon.methods.base import FoldContext
from surgeon.methods.registry import parse
from surgeon.selection import INPUT, is_call
from surgeon.surgery.door import Subject
from surgeon.tensors.instead import NotHere


@dataclass
class Merging:
    """The edits of a network on their way out of a copy of its tree.

    Attributes:
        subject: The network as it was admitted.
        record: Its record.
        tree: The copy, which is changed.
        norm_after: Finds the norm behind a site.
        partial: Whether what does not fold stays in the network.
        stuck: The edits that do not fold so far, with the reasons.
        merged: The edits whose site got a folded module.
    """

    subject: Subject
    record: Plan
    tree: nn.Module
    norm_after: Callable[[str], nn.Module | None]
    partial: bool = False
    stuck: list[tuple[Edit, str]] = field(default_factory=list)
    merged: list[Edit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._operations = {k: parse(o) for k, o in self.record.operations.items()}
        self._changed = {f.site: f for f in self.subject.changed}
        self._beside, self._shared = read_by_functions(self.subject.model), shared_in(self.tree)

    def all(self) -> None:
        """Merge every edit that can be, so that each layer goes into a module to which it stands next."""
        for edit in _outwards(self.record.edits):
            module = None if edit.site == INPUT else self.tree.get_submodule(edit.site)
            layer = self.tree.get_submodule(edit.layer) if edit.layer else None
            if self.partial and edit.exchanges and not self.record.folds:
                why = "what is left of the surgery could not be made again on the changed layers"
                self.stuck.append((edit, why))
                continue
            nearer = [e for e, _ in self.stuck if e.site == edit.site]
            try:
                folded = self._folded(edit, module, layer, nearer)
                self._refuse(edit, module, layer, folded, nearer)
            except FoldError as error:
                self.stuck.append((edit, str(error)))
                continue
            if folded is not None and module is not None:
                move_hooks(module, folded)
                put(self.tree, edit.site, folded, self._shared)
                self.merged.append(edit)
            if edit.layer:
                take(self.tree, edit.layer)

    def _folded(
        self, edit: Edit, module: nn.Module | None, layer: nn.Module | None, nearer: Sequence[Edit]
    ) -> nn.Module | None:
        """Fold one site, with the weights that hooks or parametrizations make at present."""
        changed_site = self._changed.get(edit.site)
        # the operation whose module, which does not fold, has the place of the site's own
        in_place = next((e.operation for e in nearer if e.replaces), "")
        plain = None if module is None else settled(module)
        context = FoldContext(plain, layer, lambda: self.norm_after(edit.site))
        try:
            folded = self._operations[edit.operation].fold(edit, context)
        except Exception as error:  # an operation at a site that is no longer what it was
            if isinstance(error, SurgeonError) and not isinstance(error, NotHere):
                raise
            if in_place:
                raise FoldError(f"{in_place} has the place of its module, and does not fold") from error
            if changed_site is None:
                raise
            raise FoldError(str(changed_site)) from error
        if folded is not None and in_place:
            raise FoldError(f"{in_place} has the place of its module, and does not fold")
        if folded is not None and changed_site is not None and not changed_site.same:
            raise FoldError(str(changed_site))
        return folded

    def _refuse(
        self,
        edit: Edit,
        module: nn.Module | None,
        layer: nn.Module | None,
        folded: nn.Module | None,
        nearer: Sequence[Edit],
    ) -> None:
        """Raise FoldError if the folded module cannot take its place, or the layer cannot be taken off."""
        if folded is not None and layer is not None:
            _demand_next_to_it(edit, nearer)
        if folded is not None and edit.site in self._beside:
            raise FoldError(self._beside[edit.site])
        if folded is not None and is_call(edit.site):
            raise FoldError(
                f"the network's code calls {edit.site} as a function: no module can take its place"
            )
        if folded is not None and layer is not None and module is not None and module._forward_hooks:
            raise FoldError(
                "a forward hook of yours stands between the module and the layer; take "
                "it off, fold, and put it back"
            )
        if layer is not None and has_hooks(layer):
            raise FoldError(
                "a forward or backward hook of yours is on the layer, which folding takes away; take it off first"
            )


def _outwards(edits: Sequence[Edit]) -> list[Edit]:
    """Sort edits so that each layer is merged into a module to which it stands next.

    What took a module's place comes first, the last one first; then the layers, as they are called.
    """
    return [e for e in reversed(edits) if not e.layer] + [e for e in edits if e.layer]


def _demand_next_to_it(edit: Edit, kept: Sequence[Edit]) -> None:
    """Raise FoldError where a layer that remains stands between a layer and the module that it is merged into."""
    between = next((e for e in kept if e.layer and e.before == edit.before), None)
    if between is not None:
        raise FoldError(f"{between.operation} stands between it and its module, and does not fold")
