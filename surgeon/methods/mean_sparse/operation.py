"""The operation `meansparse` (arXiv 2406.05927): sparsification around channel means, before activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from surgeon.edits import Edit, Growth, Note, Traits
from surgeon.errors import SelectionError
from surgeon.methods.activation_sites import WEIGHING, with_fused
from surgeon.methods.base import Context, Cut, Operation, Proposal, Search, Wanted, pass_over
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn

    from surgeon.tensors.channel_statistics import ChannelStatistics


class MeanSparse(Operation):
    """Replace activations within α σ of their channel's mean by the mean, before activation functions.

    Attributes:
        start: "statistics" takes means and deviations of the stock network on calibration images, which are needed.
            "identity" leaves layers that change nothing, for weights that are loaded afterwards.
        alpha: α: the width of the band, in deviations. Default: searched on the calibration images.
        budget: For the search: largest share of predictions that may change.
        step: For the search: distance of the values that are tried, from 0 on.
        most: For the search: the largest value that is tried.
    """

    kind = "activation"
    keeps_statistics = True
    op: Literal["meansparse"] = "meansparse"
    start: Literal["statistics", "identity"] = "statistics"
    alpha: float | None = Field(default=None, ge=0)
    budget: float = Field(default=0.01, ge=0, lt=1)
    step: float = Field(default=0.05, gt=0)
    most: float = Field(default=1.0, gt=0)

    @field_validator("most")
    @classmethod
    def _some(cls, value: float, info: Any) -> float:
        step = info.data.get("step")
        if step and value / step > 1000:
            raise ValueError(
                f"most={value:g} in steps of {step:g} are more than 1,000 values to try; use larger steps"
            )
        return value

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a layer before each usable activation, one for each of its calls.

        An activation that is fused with a norm gets it between the two.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        chosen = self.chosen(with_fused(list(sites)))
        usable, passed = pass_over(chosen.sites, self.op, _unfit)
        if not usable:
            raise SelectionError(f"meansparse has no site left: {passed[0].site}: {passed[0].reason}")
        edits = [self._edit(s, call) for s in usable for call in ([None] if s.calls == 1 else range(s.calls))]
        notes = tuple(Note(code="selector", text=f"{self.op}: {r}") for r in chosen.remarks)
        return Proposal(tuple(edits), (*chosen.passed_over, *passed), notes)

    def _edit(self, site: Site, call: int | None) -> Edit:
        """Make the edit of one call of one site."""
        shape = site.call_shapes[call] if call is not None else site.out_shape or ()
        axis = 0 if site.channel_axis == 0 else -1
        channels = site.channels if call is None else shape[axis]
        numbers = math.prod(shape)
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{site.name}.meansparse" + ("" if call is None else f"_{call}"),
            before=not site.fused,
            call=call,
            settings=dict(channels=channels, axis=1 if axis == 0 else -1, start=self.start),
            effect="approximated" if self.start == "statistics" else "exact",
            traits=Traits(linear=False, masked=True),
            folds=False,
            note="a threshold has no stock equivalent",
            growth=Growth(buffers=2 * (channels or 0) + 1, flops=3 * numbers, activations=numbers),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.mean_sparse.module import MeanSparsification

        channels, axis = edit.settings["channels"], edit.settings["axis"]
        return Cut(layer=MeanSparsification(channels, axis, self.alpha or 0.0))

    def needs_images(self, edit: Edit) -> str:
        return "start 'statistics'" if self.observe(edit) is not None else ""

    def observe(self, edit: Edit) -> Wanted | None:
        if edit.settings["start"] != "statistics":
            return None
        return Wanted(edit.settings["channels"], edit.settings["axis"])

    def calibrate(self, edit: Edit, layer: nn.Module, statistics: ChannelStatistics) -> None:
        own: Any = layer
        own.set_statistics(statistics.mean, statistics.deviation)

    def search(self) -> Search | None:
        if self.alpha is not None or self.start != "statistics":
            return None
        values = tuple(round(i * self.step, 10) for i in range(int(self.most / self.step + 1e-9) + 1))
        return Search("alpha", values, self.budget)

    def tune(self, edit: Edit, layer: nn.Module, value: float) -> None:
        own: Any = layer
        own.alpha.fill_(value)


def _unfit(site: Site) -> str:
    """Return why a site cannot take a layer, or ""."""
    if site.cls in WEIGHING:
        return f"{site.cls} weighs other activations"
    if site.fused and not site.opens:
        return f"{site.cls} is norm and activation in one, and surgeon cannot open it"
    if site.channels is None or (site.calls > 1 and len(site.call_shapes) != site.calls):
        return "its size is not known"
    return ""
