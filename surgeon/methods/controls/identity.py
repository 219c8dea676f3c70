"""The operation `identity`: layers that do nothing, the placebo of a controlled experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from surgeon.edits import Edit, Traits
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal, usable_of
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn


class Identity(Operation):
    """Insert nn.Identity after each selected site, to see what tracing and cutting do by themselves.

    Attributes:
        at: Kind of site.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> model = surgeon.apply(network, {"op": "identity", "at": "activation"}, input_size=(3, 8, 8))
        >>> model.surgery.effect, model.get_submodule("1.identity")
        ('exact', Identity())
    """

    op: Literal["identity"] = "identity"
    at: Literal["conv", "linear", "norm", "activation", "pool", "residual", "attention", "stem", "head"] = (
        "conv"
    )

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose nn.Identity behind each selected site.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        usable, passed, notes = usable_of(self.chosen(sites, self.at), self.op, lambda site: "")
        edits = tuple(
            Edit(site=s.name, operation=self.op, layer=f"{s.name}.identity", traits=Traits(train_only=False))
            for s in usable
        )
        return Proposal(edits, passed, notes)

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from torch import nn

        return Cut(layer=nn.Identity())

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        return None
