"""The operation `dual-norm` (arXiv 1911.09665): auxiliary batch norms for adversarial images in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from surgeon.edits import Edit, Growth, Note, Traits
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal
from surgeon.methods.channel_sites import unopened
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn


_IDLE = Note(
    code="loop",
    severity="info",
    text="a training step without `surgeon.training.auxiliary_norms` gives the auxiliary norms no gradient; "
    "DistributedDataParallel then needs find_unused_parameters=True",
)


class DualNorm(Operation):
    """Give each batch norm an auxiliary one, which training uses for attacked images.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> [edit.layer for edit in surgeon.plan(network, "advprop", input_size=(3, 8, 8)).edits]
        ['1.auxiliary']
    """

    kind = "norm"
    op: Literal["dual-norm"] = "dual-norm"

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose an auxiliary norm at each batch norm.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No batch norm is selected.
        """
        proposal = self.propose_each(sites, self._edit, _unfit)
        return dataclasses.replace(proposal, notes=(*proposal.notes, _IDLE))

    def _edit(self, site: Site) -> Edit:
        """Make the edit of one site."""
        channels = site.channels or 0
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{site.name}.auxiliary",
            traits=Traits(train_only=True),
            growth=Growth(parameters=2 * channels, buffers=2 * channels + 1),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.dual_norm.module import AuxiliaryNorm

        assert module is not None
        return Cut(layer=AuxiliaryNorm(module))

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        """Leave the main norm, which is the stock network's.

        Args:
            edit: The edit.
            context: Not used.

        Returns:
            None.
        """
        return None


def _unfit(site: Site) -> str:
    """Return why a norm gets no auxiliary one, or ""."""
    if site.family != "batch":
        return f"{site.cls} is no batch norm"
    return unopened(site) or site.altered
