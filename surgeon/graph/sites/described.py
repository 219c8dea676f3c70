"""What a module says of itself, as a site has it: its kind, sizes and settings."""

from __future__ import annotations

from typing import Any

from torch import nn

from surgeon.graph.places.residual import Sum
from surgeon.graph.trees.fused import can_open, is_fused
from surgeon.graph.trees.leaves import altered, is_activation, is_convolution, is_norm, is_pool
from surgeon.selection import Kind
from surgeon.torch_private import AvgPoolNd, BatchNorm, ConvTransposeNd, InstanceNorm, MaxPoolNd


def kind_of_site(module: nn.Module) -> Kind | None:
    """The kind of site that a module is; None for a module of another kind."""
    if is_convolution(module):
        return "conv"
    if isinstance(module, nn.Linear):
        return "linear"
    if is_norm(module):
        return "norm"
    if is_activation(module):
        return "activation"
    if is_pool(module):
        return "pool"
    return "residual" if isinstance(module, Sum) else None


def details(kind: Kind, module: Any) -> dict[str, Any]:
    """The fields of a site that a module of this kind fills."""
    if kind == "conv":
        name = type(module).__name__
        known = type(module).__module__.startswith("timm.")
        scaled = known and name.startswith("ScaledStdConv")
        return dict(
            dims=len(module.kernel_size),
            channels=module.out_channels,
            in_channels=module.in_channels,
            kernel=tuple(module.kernel_size),
            stride=tuple(module.stride),
            padding=tuple(module.padding) if isinstance(module.padding, tuple) else None,
            dilation=tuple(module.dilation),
            groups=module.groups,
            bias=module.bias is not None,
            padding_mode=module.padding_mode,
            transposed=isinstance(module, ConvTransposeNd),
            standardized="scaled" if scaled else ("weights" if known and "StdConv" in name else ""),
        )
    if kind == "linear":
        return dict(
            channels=module.out_features, in_channels=module.in_features, bias=module.bias is not None
        )
    if kind == "norm":
        fused = is_fused(module)
        channels = getattr(module, "num_features", None) or getattr(module, "num_channels", None)
        shape = getattr(module, "normalized_shape", None)
        channels = channels or (int(shape[-1]) if isinstance(shape, tuple) and shape else None)
        within = type(module.act).__name__ if fused and is_activation(module.act) else ""
        opens = not fused or can_open(module)
        return dict(family=_family(module), fused=fused, activation=within, opens=opens, channels=channels)
    return _window(module) if isinstance(module, (AvgPoolNd, MaxPoolNd)) else {}


def _window(pool: Any) -> dict[str, Any]:
    """The dimensions, window and stride of a pooling: torch's classes have the dimensions in their names."""
    dims = next((n for n in (1, 2, 3) for c in type(pool).__mro__ if c.__name__.endswith(f"Pool{n}d")), None)
    if dims is None:
        return {}

    def each(given: Any) -> tuple[int, ...]:
        return tuple(given) if isinstance(given, (tuple, list)) else (given,) * dims

    kernel, stride = each(pool.kernel_size), each(pool.stride or pool.kernel_size)
    spread = each(getattr(pool, "dilation", 1))  # average pools have no dilation
    margin = each(pool.padding)
    return dict(
        dims=dims, kernel=kernel, stride=stride, padding=margin, dilation=spread, ceil=bool(pool.ceil_mode)
    )


def why_altered(kind: Kind, module: nn.Module) -> str:
    """Why a module may not compute what its weights say; '' where it does."""
    if getattr(module, "return_indices", False):
        return "it gives the places of the maxima too"
    return altered(module) if kind in ("conv", "linear", "norm", "pool") else ""


def _family(module: nn.Module) -> str:
    name = type(module).__name__
    if isinstance(module, BatchNorm) or "BatchNorm" in name:
        return "batch"
    if isinstance(module, InstanceNorm):
        return "instance"
    if isinstance(module, nn.GroupNorm) or "GroupNorm" in name:
        return "group"
    if isinstance(module, nn.LayerNorm) or "LayerNorm" in name:
        return "layer"
    if "Rms" in name or "RMS" in name:
        return "rms"
    return "other"
