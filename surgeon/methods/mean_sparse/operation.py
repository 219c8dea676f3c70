"""The operation `meansparse` (arXiv 2406.05927): sparsification around channel means, before activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from surgeon.edits import Edit, Growth, Note, Traits
from surgeon.methods.activation_sites import activations
from surgeon.methods.base import Context, Cut, Operation, Proposal, Search, Wanted
from surgeon.methods.channel_sites import unfit
from surgeon.methods.searching import demand_one_way
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

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> model = surgeon.apply(network, "meansparse", input_size=(3, 8, 8), start="identity", alpha=0.2)
        >>> model.get_submodule("1.meansparse")
        MeanSparsification(4, axis=1)
    """

    kind = "activation"
    keeps_statistics = True
    op: Literal["meansparse"] = "meansparse"
    start: Literal["statistics", "identity"] = "statistics"
    alpha: float | None = Field(default=None, ge=0)
    budget: float = Field(default=0.01, ge=0, lt=1)
    step: float = Field(default=0.05, gt=0)
    most: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _few(self) -> Self:
        demand_one_way(self, "alpha", "budget", "step", "most")
        if self.step > self.most:
            raise ValueError(
                f"step={self.step:g} is above most={self.most:g}, so that α = 0 alone would be tried, which changes "
                "nothing; a step is at most as large"
            )
        if self.most / self.step > 1000:
            raise ValueError(
                f"most={self.most:g} in steps of {self.step:g} are more than 1,000 values to try; use larger steps"
            )
        return self

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
        usable, passed, notes = activations(self, sites, _unfit)
        edits = [self._edit(s, call) for s in usable for call in ([None] if s.calls == 1 else range(s.calls))]
        return Proposal(tuple(edits), passed, (*notes, *self._idle()))

    def _idle(self) -> tuple[Note, ...]:
        """Note settings of the search for α where there is no search."""
        fields = type(self).model_fields
        changed = [
            f"{n}={v:g}" for n in ("budget", "step", "most") if (v := getattr(self, n)) != fields[n].default
        ]
        if self.search() is not None or not changed:
            return ()
        why = f"alpha={self.alpha:g} is given" if self.alpha is not None else "start=identity leaves α at 0"
        verb = "is" if len(changed) == 1 else "are"
        text = f"{' and '.join(changed)} {verb} of the search for α and changes nothing: {why}"
        return (Note(code="idle", text=text if len(changed) == 1 else text.replace("changes", "change")),)

    def _edit(self, site: Site, call: int | None) -> Edit:
        """Make the edit of one call of one site."""
        shape = site.call_shapes[call] if call is not None else site.out_shape or ()
        channels = site.channels if call is None else shape[site.channel_axis or 0]
        numbers = math.prod(shape)
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{site.name}.meansparse" + ("" if call is None else f"_{call}"),
            before=not site.fused,
            call=call,
            settings=dict(channels=channels, axis=1 if site.channel_axis == 0 else -1, start=self.start),
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

    def surrogate(self, edit: Edit, layer: nn.Module) -> nn.Module | None:
        """Leave the layer out: the identity, as RobustBench's footnotes put in its place.

        Args:
            edit: The edit.
            layer: The layer.

        Returns:
            None.
        """
        return None

    def needs_images(self, edit: Edit) -> str:
        return "start 'statistics'" if self.observe(edit) is not None else ""

    def start_without_images(self, edit: Edit) -> str:
        return "identity"

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
    return unfit(site, each_call=True)
