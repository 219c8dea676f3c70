"""The operation `channel-mean`: the channels that vary least become constant, behind convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from surgeon.edits import Edit, Growth, Traits
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal, Wanted, pass_over
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn

    from surgeon.results.paper import Paper
    from surgeon.tensors.channel_statistics import ChannelStatistics


class ChannelMean(Operation):
    """Replace the channels that vary least on calibration images by their mean, behind convolutions.

    Attributes:
        share: Share of the channels of each convolution that become constant.
    """

    keeps_statistics = True
    op: Literal["channel-mean"] = "channel-mean"
    share: float = Field(default=0.1, ge=0, le=1)

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a layer behind each usable convolution.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        chosen = self.chosen(sites)
        usable, passed = pass_over(chosen.sites, self.op, _unfit)
        families = {s.name: s.family for s in sites if s.kind == "norm"}
        edits = [self._edit(s, families.get(s.next_norm or "")) for s in usable]
        return Proposal(tuple(edits), (*chosen.passed_over, *passed))

    def _edit(self, site: Site, norm: str | None) -> Edit:
        """Make the edit of one site, which a norm of a family follows."""
        note = site.altered or (
            "a transposed convolution has its filters in another axis"
            if site.transposed
            else ""
            if site.bias or norm == "batch"
            else "the convolution has no bias, and no batch norm follows that could take up the means"
        )
        numbers = math.prod(site.out_shape or (0,))
        channels = site.channels or 0
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{site.name}.channel_mean",
            settings=dict(channels=channels, count=round(self.share * channels)),
            effect="approximated",
            traits=Traits(masked=True),
            folds=not note,
            note=note,
            growth=Growth(buffers=2 * channels, flops=numbers, activations=numbers),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.channel_mean.module import ConstantChannels

        return Cut(layer=ConstantChannels(edit.settings["channels"], edit.settings["count"]))

    def observe(self, edit: Edit) -> Wanted | None:
        return Wanted(edit.settings["channels"])

    def calibrate(self, edit: Edit, layer: nn.Module, statistics: ChannelStatistics) -> None:
        own: Any = layer
        own.set_statistics(statistics.mean, statistics.variance)

    @classmethod
    def paper(cls) -> Paper:
        from surgeon.methods.channel_mean.paper import PAPER

        return PAPER

    def surrogate(self, edit: Edit, layer: nn.Module) -> nn.Module | None:
        from torch import nn as modules

        return modules.Identity()

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        """Zero the filters of the constant channels; their means become biases.

        Args:
            edit: The edit.
            context: The convolution, the layer, and the norm that follows.

        Returns:
            A new convolution.

        Raises:
            FoldError: The site does not fold, or nothing can take up the means.
        """
        from surgeon.errors import FoldError
        from surgeon.methods.channel_mean.folding import folded

        if not edit.folds:
            raise FoldError(edit.note)
        return folded(context.module, context.layer, context.next_norm)


def _unfit(site: Site) -> str:
    """Return why a site cannot take a layer, or ""."""
    if site.channels is None:
        return "its size is not known"
    if site.calls > 1:
        return f"it is called {site.calls} times a pass, and a channel has one mean"
    if site.logits:
        return "its channels are the classes"
    return ""
