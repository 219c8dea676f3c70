"""The operation `weight-map`: weight-map layers in place of convolutions (smoothing and unsharp)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from surgeon.edits import Edit, Growth, Note, Traits
from surgeon.errors import SelectionError, either
from surgeon.methods.base import Context, Cut, Observed, Operation, Proposal, sizes, usable_of
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn

    from surgeon.results.paper import Paper


class WeightMap(Operation):
    """Replace each selected convolution by a map of weights per pair of channels and a fixed box filter.

    Attributes:
        mode: "smoothing" (eq. 2) or "unsharp" (eq. 3, 4).
        kernel_size: Side of the filter. Default: that of the replaced convolution.
        normalize: Divide the filter of ones by its size (the paper does not).
        start: How trained weights are carried over. "random" is U(−s, s) with s = 1/√fan_in, as in the paper.
            "distill" fits the maps to the convolution's outputs on calibration images and re-fits the layers
            behind. "mean" sets each map to the mean of the kernel that it replaces. "anneal" begins like
            "mean" next to the convolution; training raises the map's share of the output from 0 to 1, and the
            convolution is then dropped. "auto" is "distill" for a trained network with calibration images,
            otherwise "random".
        iterations: Iterations of conjugate gradients of "distill".
        scale: Factor that "distill" multiplies every convolution and map before a batch norm by. The norm
            cancels it, but training steps then are 1/scale² as large, and keep more of the start.
        fan_in: Number that "random" takes s from. Default: that of the convolution.
        max_parameters: Largest number of parameters that may be added in all; a layer adds C_out · C_in /
            groups · H · W.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> edit = surgeon.plan(network, {"op": "weight-map", "mode": "unsharp"}, input_size=(3, 8, 8)).edits[0]
        >>> edit.site, edit.replaces, edit.growth.parameters
        ('0', True, 800)
    """

    consumes = True
    binds = True
    op: Literal["weight-map"] = "weight-map"
    mode: Literal["smoothing", "unsharp"] = "smoothing"
    kernel_size: int | None = Field(default=None, ge=1)
    normalize: bool = False
    start: Literal["auto", "random", "mean", "distill", "anneal"] = "auto"
    iterations: int = Field(default=10, ge=1)
    scale: float = Field(default=3.0, gt=0)
    fan_in: float | None = Field(default=None, gt=0)
    max_parameters: int = Field(default=500_000_000, ge=1)

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a weight map in place of each usable convolution.

        Args:
            sites: The sites of the network.
            context: What is known of the network besides.

        Returns:
            The proposed edits; a note of code "too-large" makes `apply` refuse the plan.

        Raises:
            SelectionError: No usable site, or the input size is unknown: a map has a weight per position.
        """
        chosen = self.chosen(sites)
        if all(s.in_shape is None for s in chosen.sites):
            raise SelectionError(
                "weight maps need to know the network's input size; give "
                + either("input_size=(C, H, W)", "--input-size C,H,W")
            )
        usable, passed, remarks = usable_of(chosen, self.op, self._unfit)
        edits = tuple(self._edit(s, self._start(context)) for s in usable)
        notes = [*remarks]
        added = sum(e.growth.parameters for e in edits)
        if added > self.max_parameters:
            largest = max(edits, key=lambda e: e.growth.parameters)
            notes.append(
                Note(
                    code="too-large",
                    text=f"weight-map adds {added:,} parameters, over the limit of "
                    f"{self.max_parameters:,} (largest: {largest.site}, {largest.growth.parameters:,}); use a smaller "
                    f"input size, select fewer sites, or raise weight-map.max_parameters",
                )
            )
        return Proposal(edits, passed, tuple(notes))

    def _unfit(self, site: Site) -> str:
        """Return why a convolution cannot be replaced, or ""."""
        if site.altered:
            return site.altered
        if site.dims != 2:
            return f"a {site.dims}-D convolution; weight maps are 2-D"
        if site.transposed:
            return "a transposed convolution"
        if site.padding_mode != "zeros":
            return f"padding_mode={site.padding_mode!r}; weight maps pad with zeros"
        if site.in_shape is None or site.out_shape is None:
            return "its size is not known"
        if site.calls > 1:
            return f"it is called {site.calls} times a pass, and a map has one size"
        size = self.kernel_size
        if size is not None and _sides(site, None) == site.out_shape[1:] != _sides(site, size):
            return (
                f"a filter of kernel_size={size} in place of {'×'.join(map(str, site.kernel or ()))} gives another "
                f"size than the convolution, {'×'.join(map(str, site.out_shape[1:]))}: "
                f"{f'{size - 1} or ' if size > 1 else ''}{size + 1} may keep it"
            )
        return ""

    def _start(self, context: Context) -> str:
        """Return the start, with "auto" resolved."""
        if self.start == "auto":
            return "distill" if context.trained and context.calibrated else "random"
        return self.start

    def _edit(self, site: Site, start: str) -> Edit:
        """Make the edit of one site."""
        assert site.in_shape and site.out_shape  # checked by _unfit
        cin, height, width = site.in_shape
        cout, *out = site.out_shape
        weights = cout * (cin // (site.groups or 1)) * height * width
        bias = cout * math.prod(out) if site.bias else 0
        kernel = math.prod(site.kernel or ())
        old = cout * (cin // (site.groups or 1)) * kernel + (cout if site.bias else 0)
        box = (self.kernel_size or math.isqrt(kernel)) ** 2
        new_flops = 2 * weights + box * cout * math.prod(out)
        old_flops = 2 * cout * (cin // (site.groups or 1)) * kernel * math.prod(out)
        return Edit(
            site=site.name,
            operation=self.op,
            replaces=True,
            settings=dict(
                input_size=[height, width], output_size=list(out), channels=[cin, cout], start=start
            ),
            effect={"random": "destroyed", "anneal": "exact"}.get(start, "approximated"),
            traits=Traits(),
            folds=False,
            note="a weight map has other weights at each pixel, and a convolution has not",
            growth=Growth(
                parameters=weights + bias - old,
                flops=new_flops - old_flops,
                activations=cout * height * width,
            ),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the weight map, started as the edit says; with "anneal" a blend of convolution and map.

        Args:
            edit: The edit.
            module: The convolution.
            generator: Source of the random numbers.

        Returns:
            The replacement.

        Raises:
            SelectionError: The map's output would have another size than the convolution's.
        """
        from surgeon.methods.weight_map.blend import WeightMapBlend
        from surgeon.methods.weight_map.module import WeightMap2d, init_from_conv
        from surgeon.tensors.convolution import effective_weight

        conv: Any = module
        given = sizes(edit)
        kernel, padding = tuple(conv.kernel_size), self._padding(conv, given)
        if self.kernel_size is not None:
            sides = (self.kernel_size, self.kernel_size)
            if isinstance(padding, tuple):
                padding = tuple(
                    p + d * (n - k) // 2
                    for p, d, n, k in zip(padding, conv.dilation, sides, kernel, strict=True)
                )
            kernel = sides
        layer = WeightMap2d(
            conv.in_channels,
            conv.out_channels,
            given["input_size"],
            kernel,
            conv.stride,
            padding,
            conv.dilation,
            conv.groups,
            mode=self.mode,
            normalize=self.normalize,
            bias=conv.bias is not None,
            fan_in=self.fan_in,
        )
        if layer.output_size(*given["input_size"]) != given["output_size"]:
            raise SelectionError(
                f"{edit.site}: the map's output would be {layer.output_size(*given['input_size'])}, not "
                f"{given['output_size']}"
            )
        start = edit.settings["start"]
        if start in ("mean", "anneal"):
            init_from_conv(layer, effective_weight(conv), conv.bias)
        else:
            layer.reset_parameters(generator)
        layer = layer.to(device=conv.weight.device, dtype=conv.weight.dtype)
        if start == "anneal":
            blend = WeightMapBlend(copy.deepcopy(conv), layer)
            return Cut(replacement=blend.to(conv.weight.device))
        return Cut(replacement=layer)

    def _padding(self, conv: Any, given: dict[str, Any]) -> Any:
        """Return the convolution's padding; if it pads by its input's size, the equal fixed padding."""
        out = [
            (s + 2 * p - d * (k - 1) - 1) // st + 1
            for s, p, d, k, st in zip(
                given["input_size"], _numbers(conv), conv.dilation, conv.kernel_size, conv.stride, strict=True
            )
        ]
        if isinstance(conv.padding, str) or tuple(out) == given["output_size"]:
            return conv.padding
        sides = zip(
            given["output_size"],
            conv.stride,
            conv.dilation,
            conv.kernel_size,
            given["input_size"],
            strict=True,
        )
        zeros = [max((o - 1) * st + d * (k - 1) + 1 - s, 0) for o, st, d, k, s in sides]
        if tuple(conv.stride) == (1, 1) and any(z % 2 for z in zeros):
            return "same"  # an even window, with one more zero behind than before
        return tuple((z + 1) // 2 for z in zeros)

    def needs_images(self, edit: Edit) -> str:
        return "start 'distill'" if edit.settings["start"] == "distill" else ""

    def start_without_images(self, edit: Edit) -> str:
        return "random"

    def refits(self, edit: Edit) -> bool:
        return bool(self.needs_images(edit))

    def headroom(self, edit: Edit) -> float:
        return self.scale

    def fit(self, edit: Edit, seen: Observed) -> float | None:
        """Fit the maps to the stock convolution's outputs: least squares, by conjugate gradients.

        Args:
            edit: The edit.
            seen: The calibration images at this edit.

        Returns:
            The relative error of the outputs.
        """
        from surgeon.methods.weight_map.fit import fit_weight_map

        layer: Any = seen.module
        error = fit_weight_map(
            layer, seen.inputs, seen.wanted, centred=seen.centred, iterations=self.iterations
        )
        if seen.centred:
            layer.maps.mul_(self.scale)
        return error

    def anneal(self, edit: Edit, layer: nn.Module, progress: float) -> None:
        """Set the map's share of the output.

        Args:
            edit: The edit.
            layer: The blend.
            progress: From 0, the convolution, to 1, the map.
        """
        blend: Any = layer
        blend.set_alpha(progress)

    def share_of_effect(self, edit: Edit, layer: nn.Module) -> float:
        blend: Any = layer
        return float(blend.alpha)

    @classmethod
    def paper(cls) -> Paper:
        """Return the tables of the paper, as its evaluation runs them."""
        from surgeon.methods.weight_map.paper import PAPER

        return PAPER


def _numbers(conv: Any) -> tuple[int, ...]:
    """Return the convolution's padding as numbers, 0 for a padding in words."""
    return (0, 0) if isinstance(conv.padding, str) else tuple(conv.padding)


def _sides(site: Site, size: int | None) -> tuple[int, ...] | None:
    """The output's sides by a filter of this size, None for the convolution's own, padded for it as `build` does; None
    where the padding is not given as numbers."""
    if site.padding is None or site.in_shape is None:
        return None
    axes = zip(
        site.in_shape[1:],
        site.padding,
        site.dilation or (),
        site.kernel or (),
        site.stride or (),
        strict=True,
    )
    new = [(s, p + d * ((size or k) - k) // 2, d, size or k, st) for s, p, d, k, st in axes]
    return tuple((s + 2 * p - d * (k - 1) - 1) // st + 1 for s, p, d, k, st in new)
