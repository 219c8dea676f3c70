"""The operation `dual-norm` (arXiv 1911.09665): auxiliary batch norms for adversarial images in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from surgeon.edits import Edit, Growth, Note, Traits
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal, pass_over
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn


class DualNorm(Operation):
    """Give each batch norm an auxiliary one, which training uses for attacked images."""

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
        chosen = self.chosen(sites)
        usable, passed = pass_over(chosen.sites, self.op, _unfit)
        notes = tuple(Note(code="selector", text=f"{self.op}: {r}") for r in chosen.remarks)
        edits = tuple(
            Edit(
                site=s.name,
                operation=self.op,
                layer=f"{s.name}.auxiliary",
                traits=Traits(train_only=True),
                growth=Growth(parameters=2 * (s.channels or 0), buffers=2 * (s.channels or 0) + 1),
            )
            for s in usable
        )
        return Proposal(edits, (*chosen.passed_over, *passed), notes)

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
    if site.fused and not site.opens:
        return f"{site.cls} is norm and activation in one, and surgeon cannot open it"
    return site.altered
