"""The operation `kwta` (arXiv 1905.10510): k-winners-take-all in place of activation functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from surgeon.edits import Edit, Growth, Traits
from surgeon.methods.activation_sites import activations, function_at, numbers_at
from surgeon.methods.base import Context, Cut, Operation, Proposal
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn


class KWinnersTakeAll(Operation):
    """Replace activation functions by k-winners-take-all, over all activations of an image at that place.

    Attributes:
        share: γ: the share of activations that stay.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> surgeon.apply(network, "kwta", input_size=(3, 8, 8), share=0.2).get_submodule("1")
        KWinners(share=0.2)
    """

    kind = "activation"
    consumes = True
    op: Literal["kwta"] = "kwta"
    share: float = Field(default=0.1, gt=0, le=1)

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose to replace each usable activation; of a norm and activation in one, the activation alone.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        usable, passed, notes = activations(self, sites, _unfit)
        edits = tuple(
            Edit(
                site=function_at(site),
                operation=self.op,
                replaces=True,
                settings=dict(share=self.share),
                effect="approximated",
                traits=Traits(linear=False, masked=True),
                folds=False,
                note="winners are found by comparing all activations of an image: no stock module does that",
                growth=Growth(flops=numbers_at(site)),
            )
            for site in usable
        )
        return Proposal(edits, passed, notes)

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.kwta.module import KWinners

        return Cut(replacement=KWinners(edit.settings["share"]))

    def surrogate(self, edit: Edit, layer: nn.Module) -> nn.Module | None:
        """Return ReLU, in whose place the winners mostly are: its gradient does not jump with the others' order.

        Args:
            edit: The edit.
            layer: The winners.

        Returns:
            nn.ReLU.
        """
        from torch import nn

        return nn.ReLU()


def _unfit(site: Site) -> str:
    """Return why an activation must stay, or ""."""
    if site.folded:
        return "windows or tokens of an image lie in the batch there, so that its winners cannot be found"
    return ""
