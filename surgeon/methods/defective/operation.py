"""The operation `defective`: a fixed mask over activations of the bottom layers (arXiv 1911.08432)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from surgeon.edits import Edit, Growth, Traits
from surgeon.errors import FoldError, SelectionError, either
from surgeon.methods.base import Context, Cut, FoldContext, Observed, Operation, Proposal, sizes, usable_of
from surgeon.methods.channel_sites import unopened
from surgeon.selection import Site, select

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from surgeon.results.paper import Paper

_CHANNELS_FIRST = ("batch", "group", "instance")


class DefectiveNeurons(Operation):
    """Set a fixed share 1 − keep of the neurons to the constant `value`, in training and evaluation.

    Attributes:
        keep: Share p of the neurons that work.
        mode: "neuron" masks each on its own, "same" one map for all channels, "channel" whole channels.
        value: The constant c.
        after: "norm" (before its activation), "conv", or "auto": norms if the selected part of the network
            has them, otherwise convolutions.
        start: "random" masks at once. "sequential" does so too, and re-fits the layers behind the first mask,
            one by one, on calibration images. "anneal" begins without masks and masks more and more, nested,
            during training. "auto" is "sequential" for a trained network with calibration images, otherwise
            "random", as in the paper.
        choice: Which neurons are masked: "random" as in the paper, or by "importance", first those whose mean
            square after a ReLU is least on the calibration images.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        >>> model = surgeon.apply(network, "defective", input_size=(3, 8, 8), keep=0.75)
        >>> model.get_submodule("1.mask").mask.float().mean()
        tensor(0.7500)
    """

    binds = True
    shows_slope = True  # a mask is fixed, and what it holds constant no attack can move
    op: Literal["defective"] = "defective"
    keep: float = Field(default=0.5, gt=0, le=1)
    mode: Literal["neuron", "same", "channel"] = "neuron"
    value: float = 0.0
    after: Literal["auto", "norm", "conv"] = "auto"
    start: Literal["auto", "random", "sequential", "anneal"] = "auto"
    choice: Literal["random", "importance"] = "random"

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a mask behind each usable norm or convolution.

        Args:
            sites: The sites of the network.
            context: What is known of the network besides.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site, or the input size is unknown: a mask has the size of the
                activations.
        """
        norms = [s for s in sites if s.kind == "norm" and s.family in _CHANNELS_FIRST]
        kind: Literal["norm", "conv"] = (
            "conv" if self.after == "conv" or (self.after == "auto" and not norms) else "norm"
        )
        chosen = select([*norms, *(s for s in sites if s.kind != "norm")], self.select, kind, self.op)
        if all(s.out_shape is None for s in chosen.sites):
            raise SelectionError(
                "defective masks need to know the network's input size; give "
                + either("input_size=(C, H, W)", "--input-size C,H,W")
            )
        usable, passed, notes = usable_of(chosen, self.op, _unfit)
        start = self.start
        if start == "auto":
            start = "sequential" if context.trained and context.calibrated else "random"
        return Proposal(tuple(self._edit(s, start) for s in usable), passed, notes)

    def _edit(self, site: Site, start: str) -> Edit:
        """Make the edit of one site."""
        number = math.prod(site.out_shape or ())
        folds = self.mode == "channel" and site.kind == "norm" and site.family == "batch" and not site.altered
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{site.name}.mask",
            settings=dict(size=list(site.out_shape or ()), start=start, choice=self.choice),
            effect="exact" if start == "anneal" else "approximated",
            traits=Traits(masked=True),
            folds=folds,
            note="" if folds else site.altered or "a mask over single neurons has no stock equivalent",
            growth=Growth(
                buffers=number * (1 + (self.choice == "importance")), flops=number, activations=number
            ),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the mask, from the edit's own seed.

        Args:
            edit: The edit.
            module: The norm or convolution before it.
            generator: Not used: masks of one seed must be nested, whatever was drawn before.

        Returns:
            The mask as an inserted layer.
        """
        from surgeon.methods.defective.module import DefectiveMask

        channels, height, width = sizes(edit)["size"]
        keep = 1.0 if edit.settings.get("start", self.start) == "anneal" else self.keep
        layer = DefectiveMask(
            channels,
            height,
            width,
            keep,
            mode=self.mode,
            value=self.value,
            seed=edit.seed,
            chosen=self.choice == "importance",
        )
        return Cut(layer=layer)

    def needs_images(self, edit: Edit) -> str:
        started = ["start 'sequential'"] if edit.settings.get("start") == "sequential" else []
        chosen = ["choice 'importance'"] if edit.settings.get("choice") == "importance" else []
        return ", ".join(started + chosen)

    def start_without_images(self, edit: Edit) -> str:
        return "random"

    def refits(self, edit: Edit) -> bool:
        return edit.settings.get("start") == "sequential"

    def fit(self, edit: Edit, seen: Observed) -> float | None:
        """Choose the neurons that stay by importance: those with the largest mean square after a ReLU.

        Args:
            edit: The edit.
            seen: The calibration images at this edit.

        Returns:
            None: there is no error to report.
        """
        mask: Any = seen.layer
        if mask.chosen:
            mask.choose(seen.stock.relu().square().mean(0))
        return None

    def passes(self, edit: Edit, layer: nn.Module) -> Tensor | None:
        mask: Any = layer
        return mask.mask

    def anneal(self, edit: Edit, layer: nn.Module, progress: float) -> None:
        """Keep 1 − (1 − p) · progress of the neurons; the masks are nested.

        Args:
            edit: The edit.
            layer: The mask.
            progress: From 0 to 1.
        """
        mask: Any = layer
        # 1 - (1 - p) is not always p, and the last mask is the one of p
        mask.set_keep(self.keep if progress >= 1 else 1 - (1 - self.keep) * progress)

    def share_of_effect(self, edit: Edit, layer: nn.Module) -> float:
        mask: Any = layer
        return float(mask.share(self.keep))

    @classmethod
    def paper(cls) -> Paper:
        """Return the tables of the paper, as its evaluation runs them."""
        from surgeon.methods.defective.paper import PAPER

        return PAPER

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        """Fold a channel mask into the batch norm before it: scale 0 and shift `value` if masked.

        Args:
            edit: The edit.
            context: The norm and the mask.

        Returns:
            A new batch norm.

        Raises:
            FoldError: The mask is not over channels, or the norm has no scale and shift.
        """
        import copy

        if not edit.folds:
            raise FoldError(edit.note)
        norm: Any = copy.copy(context.module)
        if norm.weight is None:
            raise FoldError("the batch norm has no scale and shift that could take up the mask")
        layer: Any = context.layer  # the one that the edit hung
        kept = layer.mask[:, 0, 0].to(norm.weight.device)
        norm._parameters = dict(norm._parameters)
        from torch import nn as modules

        norm.weight = modules.Parameter(norm.weight.detach() * kept)
        norm.bias = modules.Parameter(norm.bias.detach().where(kept, norm.bias.new_tensor(self.value)))
        return norm


def _unfit(site: Site) -> str:
    """Return why a site cannot be masked, or ""."""
    if site.out_shape is None:
        return "its size is not known"
    if len(site.out_shape) != 3:
        return f"its activations are {len(site.out_shape) - 1}-D; masks are for C×H×W"
    if closed := unopened(site):
        return closed
    if site.calls > 1:
        return f"it is called {site.calls} times a pass, and a mask has one size"
    if site.logits:
        return "its channels are the classes"
    return ""
