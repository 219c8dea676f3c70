"""The operation `soft-pool` (arXiv 1412.6806): an average or a convolution in place of max poolings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from surgeon.edits import Edit, Growth, Traits
from surgeon.methods.base import Context, Cut, FoldContext, Observed, Operation, Proposal, sizes
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn

_MAXIMA = tuple(f"MaxPool{n}d" for n in (1, 2, 3))


class SoftPooling(Operation):
    """Replace max poolings by averages, or by convolutions of the same window and stride.

    Attributes:
        to: "average": torch's average pooling. "depthwise": a convolution of each channel by itself. "conv": a
            convolution that sees all channels, as in the paper.
        start: Of convolutions. "fitted": least squares on calibration images, which are needed. "mean": the average.
            "auto" is "fitted" with calibration images, otherwise "mean".
        ridge: Regularisation of the least squares, towards the average.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2))
        >>> surgeon.apply(network, "soft-pool", input_size=(3, 8, 8), to="average").get_submodule("1")
        AvgPool2d(kernel_size=2, stride=2, padding=0)
    """

    kind = "pool"
    consumes = True
    op: Literal["soft-pool"] = "soft-pool"
    to: Literal["average", "depthwise", "conv"] = "depthwise"
    start: Literal["auto", "fitted", "mean"] = "auto"
    ridge: float = Field(default=1e-4, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> SoftPooling:
        if self.start == "fitted" and self.to == "average":
            raise ValueError(
                "start 'fitted' needs weights, which an average does not have: to 'depthwise' or 'conv'"
            )
        return self

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose to replace each max pooling.

        Args:
            sites: The sites of the network.
            context: Whether there are calibration images.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        return self.propose_each(sites, lambda site: self._edit(site, context), self._unfit)

    def _unfit(self, site: Site) -> str:
        """Return why a pooling must stay, or ""."""
        if site.cls not in _MAXIMA:
            return f"{site.cls} is no max pooling of torch's"
        if self.to == "average" and any(d != 1 for d in site.dilation or ()):
            return (
                f"its window has dilation {list(site.dilation or ())}, which no average pooling has; "
                "'depthwise' has it"
            )
        if site.altered or self.to == "average":
            return site.altered
        if site.ceil:
            return "it rounds its size up, which no convolution does"
        if site.channels is None or site.channel_axis != 0:
            return "its number of channels is not known"
        return ""

    def _edit(self, site: Site, context: Context) -> Edit:
        """Make the edit of one site."""
        start = self.start if self.start != "auto" else ("fitted" if context.calibrated else "mean")
        note = ""
        if start == "fitted" and (self.to == "average" or site.dims != 2 or site.calls > 1):
            start = "mean"
            note = "" if self.to == "average" else "only 2-D poolings that are called once are fitted"
        channels = 0 if self.to == "average" else site.channels or 0
        per_kernel = math.prod(site.kernel or ()) * (channels if self.to == "conv" else 1)
        return Edit(
            site=site.name,
            operation=self.op,
            replaces=True,
            settings=dict(
                to=self.to, channels=channels, kernel=list(site.kernel or ()), dims=site.dims, start=start
            ),
            effect="approximated",
            exchanges=True,
            note=note,
            traits=Traits(),
            growth=Growth(
                parameters=channels * (per_kernel + 1),
                flops=2 * per_kernel * math.prod(site.out_shape or (0,)) * site.calls,
            ),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.soft_pool.cut import average, convolution

        given = sizes(edit)
        if given["to"] == "average":
            return Cut(replacement=average(module, given["dims"]))
        return Cut(
            replacement=convolution(module, given["channels"], given["kernel"], mixed=given["to"] == "conv")
        )

    def needs_images(self, edit: Edit) -> str:
        return "start 'fitted'" if edit.settings["start"] == "fitted" else ""

    def start_without_images(self, edit: Edit) -> str:
        return "mean"

    def fit(self, edit: Edit, seen: Observed) -> float | None:
        """Fit the convolution to the maxima of the stock network.

        Args:
            edit: The edit.
            seen: The calibration images at this edit.

        Returns:
            The relative error of the outputs.

        Raises:
            Unfitted: The windows of all channels together are too many numbers.
        """
        from surgeon.methods.soft_pool.maths import fitted_kernels

        conv: Any = seen.module
        problem = seen.problem
        kernels, bias, error = fitted_kernels(
            problem.equations, conv.weight, self.ridge, biased=problem.biased
        )
        conv.weight.copy_(kernels)
        if bias is not None:
            conv.bias.copy_(bias)
        return error

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        return None
