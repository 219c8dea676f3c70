"""The operation `kap`: kernel average pooling after convolutions, and its max control (Bashivan et al.)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from surgeon.edits import Edit, Effect, Growth, Note, Traits
from surgeon.errors import FoldError, LayerError, SelectionError
from surgeon.methods.base import (
    Context,
    Cut,
    FoldContext,
    Observed,
    Operation,
    Proposal,
    pass_over,
    sizes,
)
from surgeon.methods.input_noise import InputNoise, noise_at_input
from surgeon.quantities import Quantity
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

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
_FITTED = ("lstsq", "sequential", "replicate")


class KernelAveragePooling(Operation):
    """Mean (or max) pooling along the channels, directly after each selected convolution.

    Attributes:
        kernel_size: Side K of the window on the sheet of channels; odd.
        stride: Stride on the sheet.
        dims: 2 for a sheet of rows and columns, 1 for a line of channels.
        pool: "mean" (KAP), or "max" (Kernel Max Pooling, the paper's control).
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

    Examples:
        >>> import surgeon
        >>> operation = surgeon.methods.parse({"op": "kap", "kernel_size": 3, "stride": 3})
        >>> operation.widens
        True
    """

    op: Literal["kap"] = "kap"
    kernel_size: int = Field(default=3, ge=1)
    stride: int = Field(default=1, ge=1)
    dims: Literal[1, 2] = 2
    pool: Literal["mean", "max"] = "mean"
    widen: bool | None = None
    sigma: Quantity = Field(default=0.0, ge=0)
    input_sigma: Quantity | None = Field(default=None, ge=0)
    pixel_std: InputNoise = "auto"
    pre_norm: bool = False
    start: Literal["auto"] | Start = "auto"
    ridge: float | None = Field(default=None, ge=0)
    order: Literal["auto", "given", "fitted"] = "auto"

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(
                f"kernel_size={value} is even; a window needs a centre: {value - 1} or {value + 1}"
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> KernelAveragePooling:
        if self.start == "replicate" and (self.stride != self.kernel_size or not self.widens):
            raise ValueError(
                "start 'replicate' copies each kernel over its window: it needs stride = kernel_size, widened"
            )
        if self.start == "anneal" and self.stride > 1:
            raise ValueError("start 'anneal' blends the pooled channels with the unpooled: it needs stride 1")
        if self.start in _FITTED and self.pool == "max":
            raise ValueError(f"start {self.start!r} needs pool 'mean': the maximum is not linear")
        if self.order == "fitted" and (self.stride > 1 or self.start not in ("lstsq", "sequential", "auto")):
            raise ValueError(
                "order 'fitted' goes with stride 1 and a least-squares start ('lstsq' or 'sequential')"
            )
        if self.start in _FITTED and self.pre_norm:
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
        chosen = self.chosen(sites)
        usable, passed = pass_over(chosen.sites, self.op, self._unfit)
        if not usable:
            raise SelectionError(f"kap has no site left: {_reasons(passed)}")
        notes = [Note(code="selector", text=f"kap: {r}") for r in chosen.remarks]
        small = [p for p in passed if "exceeds" in p.reason]
        if small:
            notes.append(
                Note(
                    code="small-sheet",
                    text=f"kap passes over {len(small)} convolutions whose sheet is too "
                    f"small, the first at {small[0].site}: {small[0].reason}",
                )
            )
        edits = [self._edit(site, context) for site in usable]
        stuck = [e for e in edits if not e.folds]
        if stuck and self.pool == "mean":
            notes.append(
                Note(
                    code="does-not-fold",
                    text=f"{len(stuck)} of {len(edits)} kap layers have no stock equivalent, "
                    f"the first at {stuck[0].site}: {stuck[0].note}",
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
        return Proposal((*first, *edits), (*chosen.passed_over, *passed), tuple(notes))

    def _unfit(self, site: Site) -> str:
        """Return why a site cannot be pooled, or ""."""
        from surgeon.methods.kap.sheet import pooled_sheet, sheet_shape

        if site.logits:
            return "its channels are the classes"
        if site.altered and self.widens:
            return f"it cannot be widened: {site.altered}"
        try:
            sheet = sheet_shape(site.channels or 0, self.dims)
            wide = self._sheet(site) if self.widens else sheet
            pooled = pooled_sheet(wide, self.kernel_size, self.stride, self.dims)
        except LayerError as error:
            return str(error)
        if self.pre_norm and site.dims not in (1, 2, 3):
            return "no batch norm has its dimensions"
        if self.widens and math.prod(pooled) != site.channels:
            return f"pooling {wide[0]}×{wide[1]} by {self.stride} does not give back {site.channels} channels"
        return ""

    def _sheet(self, site: Site) -> tuple[int, int]:
        """Return the sheet of a site's channels, widened if the operation widens."""
        from surgeon.methods.kap.sheet import sheet_shape, widened_sheet

        channels = site.channels or 0
        return (
            widened_sheet(channels, self.stride, self.dims)
            if self.widens
            else sheet_shape(channels, self.dims)
        )

    def _edit(self, site: Site, context: Context) -> Edit:
        """Make the edit of one site."""
        channels = site.channels or 0
        sheet = self._sheet(site)
        wide = math.prod(sheet)
        start, note = self._start(site, context)
        replaces = self.widens or start in ("lstsq", "sequential")
        effect = _EFFECTS[start]
        stuck = self._stuck(site)
        per_kernel = (site.in_channels or 0) // (site.groups or 1) * math.prod(site.kernel or ())
        area = math.prod(site.spatial or (0,))
        extra = wide - channels
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
                ordered=self._ordered(start),
            ),
            effect=effect,
            traits=Traits(stochastic="train" if self.sigma else "never", linear=self.pool == "mean"),
            folds=not stuck,
            note=stuck or note,
            growth=Growth(
                parameters=extra * (per_kernel + bool(site.bias)) + (2 * wide if self.pre_norm else 0),
                buffers=1 + (2 * wide + 1 if self.pre_norm else 0),
                flops=2 * extra * per_kernel * area * site.calls
                + channels * area * self.kernel_size**self.dims * site.calls,
                activations=(extra + channels) * area * site.calls,
            ),
        )

    def _start(self, site: Site, context: Context) -> tuple[str, str]:
        """Return the start that a site can have, and why it is not the wanted one."""
        wanted = self.start
        if wanted == "auto":
            fits = self.pool == "mean" and not self.pre_norm and (self.stride == 1 or self.widens)
            wanted = (
                ("sequential" if context.calibrated else "lstsq") if context.trained and fits else "naive"
            )
        plain = site.dims == 2 and (site.groups or 1) == 1 and not site.standardized and not self.widens
        if wanted == "sequential" and not (plain and site.padding_mode == "zeros" and site.calls == 1):
            wanted = "lstsq"
        if wanted in (*_FITTED, "anneal") and site.altered:
            return ("anneal" if wanted == "anneal" else "naive"), site.altered
        if wanted == "lstsq" and site.standardized == "weights":
            return "naive", "its kernels are standardised, which undoes a least-squares start"
        if wanted in ("lstsq", "replicate") and site.transposed and (site.groups or 1) > 1:
            return "naive", "a transposed convolution with groups"
        if wanted == "replicate" and (site.groups or 1) > 1:
            return "naive", "copies of a grouped convolution's kernels would read other groups"
        if wanted == "lstsq" and self.widens and (site.groups or 1) > 1:
            return "naive", "a widened grouped convolution reads other groups"
        return wanted, ""

    def _ordered(self, start: str) -> bool:
        """Say whether the order of channels is fitted."""
        if self.order == "fitted":
            return True
        return self.order == "auto" and start in ("lstsq", "sequential") and self.stride == 1

    def _stuck(self, site: Site) -> str:
        """Return why a site does not fold, or ""."""
        if self.pool == "max":
            return "kernel max pooling is not linear"
        if site.altered:
            return site.altered
        if self.stride > 1 and not self.widens:
            return "the number of channels changes"
        if (site.groups or 1) > 1:
            return f"A·W mixes its {site.groups} groups, so that the folded convolution would need groups=1"
        if site.standardized == "weights":
            return "its kernels are standardised to unit variance, which averaged kernels do not have"
        if self.pre_norm and not site.bias and not site.next_norm:
            return "pre_norm shifts the output, and neither a bias nor a following norm can take that up"
        return ""

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the pooling, and a convolution with the start's weights.

        Args:
            edit: The edit.
            module: The convolution; None at the network's input.
            generator: Source of the random numbers.

        Returns:
            The modules.
        """
        return self._build(edit, module, generator, str(edit.settings.get("start")))

    def rebuild(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the modules for weights that are loaded afterwards.

        Args:
            edit: The edit.
            module: The convolution; None at the network's input.
            generator: Source of the random numbers.

        Returns:
            The modules.
        """
        return self._build(edit, module, generator, str(edit.settings.get("start")), blank=True)

    def _build(
        self, edit: Edit, module: nn.Module | None, generator: Generator, start: str, blank: bool = False
    ) -> Cut:
        import torch

        from surgeon.methods.controls.noise_layer import GaussianNoise
        from surgeon.methods.kap.module import KernelAveragePool
        from surgeon.methods.kap.order import lstsq_ordered_weight, weight_order
        from surgeon.methods.kap.prenorm import PreNormKernelAveragePool
        from surgeon.methods.kap.weights import replicate_weight
        from surgeon.tensors.convolution import effective_weight, with_channels, with_weight

        given = sizes(edit)
        if module is None:
            return Cut(
                layer=GaussianNoise(
                    given["sigma"], pixel_std=given["pixel_std"], spatial_dims=given.get("spatial_dims")
                )
            )
        sheet = given["sheet"]
        wide = math.prod(sheet)
        layer: nn.Module = KernelAveragePool(
            wide,
            self.kernel_size,
            self.stride,
            self.dims,
            pool=self.pool,
            sigma=self.sigma,
            sheet=sheet,
            spatial_dims=given.get("spatial_dims"),
        )
        conv: Any = module
        pool: Any = layer
        if self.pre_norm:
            layer = PreNormKernelAveragePool(pool, wide, given["spatial_dims"])
        if given.get("ordered"):
            pool.set_order(torch.arange(wide))  # a buffer, so that a fitted order can be loaded
        replacement, residual = None, None
        if blank and edit.replaces or self.widens and start == "naive":
            replacement = with_channels(conv, wide, generator)
        elif start in ("lstsq", "sequential"):
            weight, bias = effective_weight(conv), conv.bias
            # Set the order here too: sites in sub-networks and wide layers are never fitted to images.
            if given.get("ordered"):
                pool.set_order(weight_order(weight, pool.factors(), self.damping))
            fitted = lstsq_ordered_weight(weight, pool.factors(), self.damping, pool.order)
            residual = _residual(pool.fold(fitted.double()), weight.double())
            shift = (
                None
                if bias is None
                else lstsq_ordered_weight(bias.detach(), pool.factors(), self.damping, pool.order)
            )
            replacement = with_weight(conv, fitted, shift)
        elif start == "replicate":
            weight, bias = replicate_weight(
                effective_weight(conv), conv.bias, self.kernel_size, self.dims, generator=generator
            )
            replacement = with_weight(conv, weight, bias)
        if start == "anneal":
            shown: Any = layer
            shown.set_alpha(0.0)
        return Cut(replacement=replacement, layer=layer, residual=residual)

    def needs_images(self, edit: Edit) -> str:
        return "start 'sequential'" if edit.settings.get("start") == "sequential" else ""

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
            Unfitted: The module is no 2-D convolution, or too wide.
        """
        from surgeon.methods.kap.order import channel_order, pooling_loss
        from surgeon.methods.kap.weights import lstsq_data_weight

        conv: Any = seen.module
        pool: Any = seen.layer
        problem = seen.problem
        ridge = _DATA_RIDGE if self.ridge is None else self.ridge
        regression = problem.equations.solve(ridge)[0]
        if pool.order is not None:
            # The covariance of the outputs, as the norm behind scales them, says which channels are alike.
            scaled = problem.scale.unsqueeze(1) * regression
            covariance = scaled @ problem.equations.gram[0] @ scaled.mT
            pool.set_order(channel_order(pooling_loss(pool.factors(), ridge), covariance))
        solved = lstsq_data_weight(pool.matrix(), regression, problem.scale, ridge)
        error = problem.equations.error((pool.matrix().to(solved) @ solved).unsqueeze(0))
        weight = solved[:, :-1] if problem.biased else solved
        conv.weight.copy_(weight.view(-1, *conv.weight.shape[1:]).to(conv.weight))
        if problem.biased:
            conv.bias.copy_(solved[:, -1].to(conv.bias))
        return error

    def anneal(self, edit: Edit, layer: nn.Module, progress: float) -> None:
        """Set the pooling's share.

        Args:
            edit: The edit.
            layer: The pooling.
            progress: From 0, no pooling, to 1.
        """
        pool: Any = layer
        pool.set_alpha(progress)

    @classmethod
    def paper(cls) -> Paper:
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


def _residual(reached: Tensor, wanted: Tensor) -> float:
    """Return the relative error of weights."""
    return float((reached - wanted).norm() / wanted.norm().clamp_min(1e-30))


def _reasons(passed: Sequence[Any]) -> str:
    """List the first three reasons why sites were passed over."""
    shown = [f"{p.site}: {p.reason}" for p in passed[:3]]
    return "; ".join(shown) + (f"; and {len(passed) - 3} more" if len(passed) > 3 else "")
