"""The operation `squeeze-excite` (arXiv 1709.01507): weights of channels behind convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from surgeon.edits import Edit, Growth, Traits
from surgeon.methods.base import Context, Cut, Operation, Proposal
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn

_FEWEST = 4
"""Least number of hidden numbers."""


class SqueezeExcitation(Operation):
    """Insert squeeze-and-excitation behind convolutions, starting as the identity.

    Attributes:
        reduction: r: how many channels there are for each hidden number.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(3)))
        >>> [edit.layer for edit in surgeon.plan(network, "squeeze-excite", input_size=(3, 8, 8), reduction=2).edits]
        ['1.excite']
    """

    shows_slope = True  # its gates are smooth
    op: Literal["squeeze-excite"] = "squeeze-excite"
    reduction: int = Field(default=16, ge=1)

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a layer behind each convolution.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        return self.propose_each(sites, self._edit, _unfit)

    def _edit(self, site: Site) -> Edit:
        """Make the edit of one site."""
        channels = site.channels or 0
        hidden = max(channels // self.reduction, _FEWEST)
        numbers = math.prod(site.out_shape or (0,)) * site.calls
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{site.name}.excite",
            settings=dict(channels=channels, hidden=hidden, axes=site.dims),
            effect="exact",
            traits=Traits(linear=False),
            folds=False,
            note="the weights of channels depend on the image",
            growth=Growth(
                parameters=2 * hidden * channels + hidden + channels,
                flops=2 * numbers + 4 * hidden * channels * site.calls,
                activations=numbers,
            ),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.squeeze_excite.module import SqueezeExcite

        given = edit.settings
        return Cut(layer=SqueezeExcite(given["channels"], given["hidden"], given["axes"]))


def _unfit(site: Site) -> str:
    """Return why a convolution gets no layer, or ""."""
    if site.folded:
        return "windows or tokens of an image lie in the batch there"
    return "its channels are the classes" if site.logits else ""
