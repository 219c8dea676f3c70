"""What a site allows: whether it can be pooled, on which sheet, with which start, and whether it folds again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from surgeon.errors import LayerError

if TYPE_CHECKING:
    from surgeon.methods.base import Context
    from surgeon.methods.kap.operation import KernelAveragePooling
    from surgeon.selection import Site

FITTED = ("lstsq", "sequential", "replicate")
"""Starts that compute the weights from the trained ones."""


def alone(site: Site) -> bool:
    """Say whether a site's convolution has each channel by itself: a depthwise one."""
    return (site.groups or 1) > 1 and site.groups == site.in_channels


def unfit(operation: KernelAveragePooling, context: Context, site: Site) -> str:
    """Return why a site cannot be pooled, or is passed over, or ""."""
    from surgeon.methods.kap.sheet import pooled_sheet, sheet_shape

    if site.logits:
        return "its channels are the classes"
    keeping = operation.depthwise is None and operation.start in ("auto", *FITTED)
    if alone(site) and (operation.depthwise is False or (context.trained and keeping)):
        return (
            "it has each channel by itself (depthwise), and no start undoes a pooling of such: "
            "depthwise=true takes it in"
        )
    if site.altered and operation.widens:
        return f"it cannot be widened: {site.altered}"
    if operation.widens and site.transposed and (site.groups or 1) > 1:
        return "a transposed convolution with groups cannot be widened"
    try:
        sheet = sheet_shape(site.channels or 0, operation.dims)
        wide = sheet_of(operation, site) if operation.widens else sheet
        pooled = pooled_sheet(wide, operation.kernel_size, operation.stride, operation.dims)
    except LayerError as error:
        return str(error)
    if operation.pre_norm and site.dims not in (1, 2, 3):
        return "no batch norm has its dimensions"
    if operation.widens and math.prod(pooled) != site.channels:
        return (
            f"pooling {wide[0]}×{wide[1]} by {operation.stride} does not give back {site.channels} channels"
        )
    return ""


def sheet_of(operation: KernelAveragePooling, site: Site) -> tuple[int, int]:
    """Return the sheet of a site's channels, widened if the operation widens."""
    from surgeon.methods.kap.sheet import sheet_shape, widened_sheet

    channels = site.channels or 0
    return (
        widened_sheet(channels, operation.stride, operation.dims)
        if operation.widens
        else sheet_shape(channels, operation.dims)
    )


def start_of(operation: KernelAveragePooling, site: Site, context: Context) -> tuple[str, str]:
    """Return the start that a site can have, and why it is not the wanted one."""
    wanted = operation.start
    if wanted == "auto":
        fits = (
            operation.pool == "mean"
            and not operation.pre_norm
            and (operation.stride == 1 or operation.widens)
        )
        wanted = ("sequential" if context.calibrated else "lstsq") if context.trained and fits else "naive"
    plain = site.dims == 2 and (site.groups or 1) == 1 and not site.standardized and not operation.widens
    if wanted == "sequential" and not (plain and site.padding_mode == "zeros" and site.calls == 1):
        wanted = "lstsq"
    if wanted in (*FITTED, "anneal") and site.altered:
        return ("anneal" if wanted == "anneal" else "naive"), site.altered
    if wanted == "lstsq" and site.standardized == "weights":
        return "naive", "its kernels are standardised, which undoes a least-squares start"
    if wanted in ("lstsq", "replicate") and site.transposed and (site.groups or 1) > 1:
        return "naive", "a transposed convolution with groups"
    if wanted == "replicate" and (site.groups or 1) > 1:
        return "naive", "copies of a grouped convolution's kernels would read other groups"
    if wanted == "lstsq" and operation.widens and (site.groups or 1) > 1:
        return "naive", "a widened grouped convolution reads other groups"
    return wanted, ""


def ordered(operation: KernelAveragePooling, site: Site, start: str) -> bool:
    """Say whether the order of channels is fitted."""
    if operation.order == "fitted":
        return (site.groups or 1) == 1
    return (
        operation.kernel == "average"
        and operation.order == "auto"
        and start in ("lstsq", "sequential")
        and operation.stride == 1
        and (site.groups or 1) == 1  # groups lie side by side as they are given
    )


def stuck(operation: KernelAveragePooling, site: Site) -> str:
    """Return why a site does not fold, or ""."""
    if operation.pool == "max":
        return "kernel max pooling is not linear"
    if site.altered:
        return site.altered
    if operation.stride > 1 and not operation.widens:
        return "the number of channels changes"
    if (site.groups or 1) > 1:
        return f"A·W mixes its {site.groups} groups, so that the folded convolution would need groups=1"
    if site.standardized == "weights":
        return "its kernels are standardised to unit variance, which averaged kernels do not have"
    if operation.pre_norm and not site.bias and not site.next_norm:
        return "pre_norm shifts the output, and neither a bias nor a following norm can take that up"
    return ""
