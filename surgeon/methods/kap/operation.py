"""The operation `kap`: kernel average pooling after convolutions, and its max control (Bashivan et al.)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from surgeon.edits import Edit, Growth, Note, Traits
from surgeon.effects import Effect
from surgeon.errors import FoldError
from surgeon.methods.base import (
    Context,
    Cut,
    FoldContext,
    Observed,
    Operation,
    Proposal,
    Unfitted,
    sizes,
    usable_of,
)
from surgeon.methods.input_noise import InputNoise, noise_at_input
from surgeon.methods.kap.places import FITTED, alone, ordered, sheet_of, start_of, stuck, unfit
from surgeon.quantities import Quantity
from surgeon.selection import INPUT, Site

if TYPE_CHECKING:
    from torch import Generator, nn

    from surgeon.results.paper import Paper

Start = Literal["naive", "lstsq", "sequential", "replicate", "anneal"]
_EFFECTS: dict[str, Effect] = {
    "naive": "destroyed",
    "lstsq": "approximated",
    "sequential": "approximated",
    "replicate": "folds",
    "anneal": "exact",
}
_DATA_RIDGE = 1e-5
_MANY = 8
"""From this many linear layers on, a note says of a network with one convolution that one layer alone is cut."""


class KernelAveragePooling(Operation):
    """Mean (or max) pooling along the channels, directly after each selected convolution.

    Attributes:
        kernel_size: Side K of the window on the sheet of channels; odd, unless `even`.
        even: Allow an even K, whose windows have one channel more behind the centre than before it.
        divisor: "channels" divides by the real channels in a window, as the paper's Algorithm 1; "window" by the
            window's size at the border of the sheet too, as its eq. 2 and 10 are written.
        narrow: What becomes of channels whose sheet is narrower than the window, as the 2×11 of 22 channels: "pass"
            passes over their convolution, and the plan says so; "line" lays them on a line, as those of a prime number.
        stride: Stride on the sheet.
        dims: 2 for a sheet of rows and columns, 1 for a line of channels.
        pool: "mean" (KAP), or "max" (Kernel Max Pooling, the paper's control).
        kernel: What the window weighs its channels by: "average" as in the paper; "gaussian"; "mexican-hat", in which
            near channels add and far ones take away; or "learned", a weight for each place of the window, trained from
            the average. See `kernels.py`.
        spread: Width s of "gaussian" and "mexican-hat", in channels. Default: a quarter of `kernel_size`.
        widen: Give each convolution stride² (2-D) or stride (1-D) times as many kernels, so that the pooled
            output has the number of channels that the network expects. Default: True if `stride` is above 1.
        sigma: Standard deviation of the Gaussian noise after each pooling, in training only.
        input_sigma: The same at the network's input, in units of [0, 1] pixels. Default: `sigma`.
        pixel_std: Standard deviation, per channel, that pixels are divided by before the network. "auto"
            takes it from the network's configuration; None means not at all.
        pre_norm: Put a batch norm between convolution and pooling (not in the paper).
        start: How trained weights are carried over. "lstsq" re-fits each convolution so that its pooled
            kernels approach the old ones. "sequential" fits them, layer by layer, to the old layers' outputs
            on calibration images; this gives the best network before fine-tuning, while "lstsq", whose
            weights are smaller, was the better one after it. "replicate" copies each kernel over its window
            (stride = kernel_size). "anneal" begins with the pooling's share at 0. "naive" leaves the weights.
            "auto" is "sequential" with calibration images, otherwise "lstsq" for a trained network, and
            "naive" for a fresh one, as in the paper.
        ridge: Regularisation of the least squares. Default: 1e-4, and 1e-5 for "sequential".
        order: Order of the channels on the sheet: "given", row by row as in the paper; "fitted", chosen per
            layer so that pooling loses least of what the trained kernels compute (stride 1); "auto" is
            "fitted" with least-squares starts.

        depthwise: Whether convolutions that have each channel by itself are pooled. Default: only in fresh networks,
            and with starts 'naive' and 'anneal': no weights come near the old layer's outputs, and a trained network
            is lost. They do not fold either.

    Examples:
        >>> import surgeon
        >>> operation = surgeon.methods.parse({"op": "kap", "kernel_size": 3, "stride": 3})
        >>> operation.widens
        True
    """

    ends_its_site = True
    op: Literal["kap"] = "kap"
    kernel_size: int = Field(default=3, ge=1)
    even: bool = False
    divisor: Literal["channels", "window"] = "channels"
    narrow: Literal["pass", "line"] = "pass"
    stride: int = Field(default=1, ge=1)
    dims: Literal[1, 2] = 2
    pool: Literal["mean", "max"] = "mean"
    kernel: Literal["average", "gaussian", "mexican-hat", "learned"] = "average"
    spread: float | None = Field(default=None, gt=0)
    widen: bool | None = None
    sigma: Quantity = Field(default=0.0, ge=0)
    input_sigma: Quantity | None = Field(default=None, ge=0)
    pixel_std: InputNoise = "auto"
    pre_norm: bool = False
    start: Literal["auto"] | Start = "auto"
    ridge: float | None = Field(default=None, ge=0)
    order: Literal["auto", "given", "fitted"] = "auto"
    depthwise: bool | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> KernelAveragePooling:
        size = self.kernel_size
        if size % 2 == 0 and not self.even:
            raise ValueError(
                f"kernel_size={size} is even; a window needs a centre: {size - 1} or {size + 1}; even=true does "
                "without one"
            )
        if size % 2 == 0 and (self.start == "replicate" or self.kernel != "average"):
            raise ValueError(
                f"kernel_size={size} is even, which start 'replicate' and kernels other than 'average' are not made for"
            )
        if self.divisor == "window" and (self.pool == "max" or self.kernel != "average"):
            raise ValueError(
                "divisor 'window' belongs to averages: it needs pool 'mean' and kernel 'average'"
            )
        if self.divisor == "window" and self.start == "replicate":
            raise ValueError(
                "divisor 'window' makes less of the copies at the border: start 'replicate' needs 'channels'"
            )
        if self.narrow == "line" and self.widens:
            raise ValueError(
                "narrow 'line' is of convolutions that keep their channels, and stride widens them"
            )
        if self.start == "replicate" and (self.stride != self.kernel_size or not self.widens):
            raise ValueError(
                "start 'replicate' copies each kernel over its window: it needs stride = kernel_size, widened"
            )
        if self.kernel != "average" and (
            self.pool == "max" or self.start == "replicate" or self.order == "fitted"
        ):
            raise ValueError(
                f"kernel {self.kernel!r} needs pool 'mean', another start than 'replicate', and the given order"
            )
        if self.spread is not None and self.kernel not in ("gaussian", "mexican-hat"):
            raise ValueError(
                f"spread={self.spread:g} is the width of a Gaussian, which kernel {self.kernel!r} has not"
            )
        if self.start == "anneal" and self.stride > 1:
            raise ValueError("start 'anneal' blends the pooled channels with the unpooled: it needs stride 1")
        if self.start in FITTED and self.pool == "max":
            raise ValueError(f"start {self.start!r} needs pool 'mean': the maximum is not linear")
        if self.order == "fitted" and (self.stride > 1 or self.start not in ("lstsq", "sequential", "auto")):
            raise ValueError(
                "order 'fitted' goes with stride 1 and a least-squares start ('lstsq' or 'sequential')"
            )
        if self.start in FITTED and self.pre_norm:
            raise ValueError(
                f"start {self.start!r} does not know the norm of pre_norm; use 'naive' or 'anneal'"
            )
        return self

    @property
    def damping(self) -> float:
        """The ridge of least squares on weights."""
        return 1e-4 if self.ridge is None else self.ridge

    @property
    def widens(self) -> bool:
        """Whether convolutions get more kernels."""
        return self.stride > 1 if self.widen is None else self.widen and self.stride > 1

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a pooling after each usable convolution, and noise at the input if it has any.

        Args:
            sites: The sites of the network.
            context: What is known of the network besides.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No selected convolution can be pooled.
        """
        usable, passed, remarks = usable_of(self.chosen(sites), self.op, partial(unfit, self, context))
        notes = [*remarks]
        small = [p for p in passed if "exceeds" in p.reason]
        if small:
            notes.append(
                Note(
                    code="small-sheet",
                    text=f"kap passes over {len(small)} convolutions whose sheet is too "
                    f"small, the first at {small[0].site}: {small[0].reason}; narrow=line pools along a line there",
                )
            )
        edits = [self._edit(site, context) for site in usable]
        linear = sum(site.kind == "linear" for site in sites)
        if len(edits) == 1 and linear >= _MANY:
            notes.append(
                Note(
                    code="one-layer",
                    text=f"kap pools behind convolutions, and this network has one that it takes, {edits[0].site}, "
                    f"beside {linear} linear layers: the cut is of that layer alone",
                )
            )
        unfolded = [e for e in edits if not e.folds]
        if unfolded and self.pool == "mean":
            notes.append(
                Note(
                    code="does-not-fold",
                    text=f"{len(unfolded)} of {len(edits)} kap layers have no stock equivalent, "
                    f"the first at {unfolded[0].site}: {unfolded[0].note}",
                )
            )
        if not context.trained and self.start == "auto":
            notes.append(
                Note(
                    code="start",
                    severity="info",
                    text="kap starts naively: the network looks untrained; for a "
                    "trained one say that its weights are trained, or give calibration images",
                )
            )
        sigma = self.sigma if self.input_sigma is None else self.input_sigma
        first = noise_at_input(sites, sigma, self.pixel_std, context, self.op)
        return Proposal((*first, *edits), passed, tuple(notes))

    def _edit(self, site: Site, context: Context) -> Edit:
        """Make the edit of one site."""
        channels = site.channels or 0
        sheet = sheet_of(self, site)
        wide = math.prod(sheet)
        start, note = start_of(self, site, context)
        replaces = self.widens or start in ("lstsq", "sequential")
        # A pooled depthwise kernel reads nine channels where the old one reads one: no weights undo that.
        effect = "destroyed" if alone(site) and start in FITTED else _EFFECTS[start]
        reason = stuck(self, site)
        per_kernel = (site.in_channels or 0) // (site.groups or 1) * math.prod(site.kernel or ())
        area = math.prod(site.spatial or (0,))
        extra = wide - channels
        # An average is a sum over its window; another one is a product of all channels with a matrix (`weighted.py`).
        window = self.kernel_size**self.dims if self.kernel == "average" else 2 * wide
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{site.name}.kap",
            replaces=replaces,
            settings=dict(
                channels=channels,
                sheet=list(sheet),
                start=start,
                spatial_dims=site.dims,
                biased=bool(site.bias),
                changes_channels=self.stride > 1 and not self.widens,
                ordered=ordered(self, site, start),
            ),
            effect=effect,
            traits=Traits(stochastic="train" if self.sigma else "never", linear=self.pool == "mean"),
            folds=not reason,
            note=reason or note,
            growth=Growth(
                parameters=extra * (per_kernel + bool(site.bias))
                + (2 * wide if self.pre_norm else 0)
                + (
                    math.prod(min(self.kernel_size, side) for side in sheet)
                    if self.kernel == "learned"
                    else 0
                ),
                buffers=1
                + (channels if ordered(self, site, start) else 0)
                + (2 * wide + 1 if self.pre_norm else 0),
                flops=2 * extra * per_kernel * area * site.calls + channels * area * window * site.calls,
                activations=(extra + channels) * area * site.calls,
            ),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the pooling, and a convolution with the start's weights.

        Args:
            edit: The edit.
            module: The convolution; None at the network's input.
            generator: Source of the random numbers.

        Returns:
            The modules.
        """
        return self._cut(edit, module, generator)

    def rebuild(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the modules for weights that are loaded afterwards.

        Args:
            edit: The edit.
            module: The convolution; None at the network's input.
            generator: Source of the random numbers.

        Returns:
            The modules.
        """
        return self._cut(edit, module, generator, blank=edit.replaces)

    def _cut(self, edit: Edit, module: nn.Module | None, generator: Generator, blank: bool = False) -> Cut:
        """Make the modules of an edit: noise at the input, a pooling elsewhere."""
        from surgeon.methods.controls.noise_layer import GaussianNoise
        from surgeon.methods.kap.starts import started

        given = sizes(edit)
        if module is None:
            noise = GaussianNoise(
                given["sigma"], pixel_std=given["pixel_std"], spatial_dims=given.get("spatial_dims")
            )
            return Cut(layer=noise)
        replacement, layer, residual = started(self, given, module, generator, blank=blank)
        return Cut(replacement=replacement, layer=layer, residual=residual)

    def needs_images(self, edit: Edit) -> str:
        return "start 'sequential'" if edit.settings.get("start") == "sequential" else ""

    def start_without_images(self, edit: Edit) -> str:
        return "lstsq"

    def refits(self, edit: Edit) -> bool:
        return bool(self.needs_images(edit))

    def fit(self, edit: Edit, seen: Observed) -> float | None:
        """Fit the convolution so that its pooled outputs approach the stock ones: eq. 3, solved for W.

        Args:
            edit: The edit.
            seen: The calibration images at this edit.

        Returns:
            The relative error of the pooled outputs.

        Raises:
            Unfitted: The module is not a 2-D convolution, or too wide, or a pooling that is not linear stands between.
        """
        from surgeon.methods.kap.starts import fit_to_images

        if (error := fit_to_images(seen, _DATA_RIDGE if self.ridge is None else self.ridge)) is None:
            raise Unfitted("a pooling that is not linear stands between it and its layer")
        return error

    def anneals(self, edit: Edit) -> bool:
        # The noise at the input has no share.
        return edit.site != INPUT and super().anneals(edit)

    def anneal(self, edit: Edit, layer: nn.Module, progress: float) -> None:
        """Set the pooling's share.

        Args:
            edit: The edit.
            layer: The pooling.
            progress: From 0, no pooling, to 1.
        """
        pool: Any = layer
        pool.set_alpha(progress)

    def share_of_effect(self, edit: Edit, layer: nn.Module) -> float:
        pool: Any = layer
        return float(pool.alpha)

    @classmethod
    def paper(cls) -> Paper:
        """Return the tables of the paper, as its evaluation runs them."""
        from surgeon.methods.kap.paper import PAPER

        return PAPER

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        """Merge the pooling into the convolution before it (eq. 3).

        With `pre_norm`, the norm's shift goes into the convolution's bias, or into the running mean of the
        norm that follows.

        Args:
            edit: The edit.
            context: The convolution, the pooling, and the norm that follows.

        Returns:
            A new convolution; None at the network's input.

        Raises:
            FoldError: The site does not fold, or nothing can take up the shift.
        """
        from surgeon.methods.kap.folding import folded

        if context.module is None:
            return None
        if not edit.folds:
            raise FoldError(edit.note)
        return folded(context.module, context.layer, context.next_norm)
