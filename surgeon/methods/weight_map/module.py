"""The weight map layer as a module that takes the place of a convolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.weight_map.maths import MODES, Pair, output_size, pair, resolve_padding, weight_map
from surgeon.tensors.resize import resize_maps, resized_parameter, warn_resized
from surgeon.tensors.traced import Proxy, called

STARTS = ("mean", "projection")


class WeightMap2d(nn.Module):
    """A weight for every input position, then a fixed filter of ones ("Weight Map Layer ...", eq. 1-4).

    Input (N, in_channels, H, W) with (H, W) = `input_size`, output (N, out_channels, H_out, W_out), the size
    that nn.Conv2d with the same arguments gives. Parameters: `maps` (H W, C_in/groups, C_out), which the
    products read as it lies, and `bias` (C_out, H_out, W_out) or None; `by_channels()` shows the maps in the
    equations' order of axes. There is no `weight`, by which other code would take the layer for a convolution. `mode` is "smoothing" or "unsharp"; `normalize` divides the ones by their
    number (the paper does not). Start: U(-s, s), s = 1/sqrt(fan_in).
    Here: the paper's a_in is not defined; `fan_in` defaults to that of the convolution, C_in/groups * K^2.
    Raises LayerError for settings that a convolution would refuse, another padding_mode than zeros, and in
    forward for another input size, which it names.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: Pair,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        *,
        mode: str = "smoothing",
        normalize: bool = False,
        bias: bool = True,
        fan_in: float | None = None,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise LayerError(f"mode={mode!r} is not known; 'smoothing' and 'unsharp' are")
        if padding_mode != "zeros":
            raise LayerError(
                f"padding_mode={padding_mode!r} is not supported; a weight map pads with 'zeros'"
            )
        if groups < 1 or in_channels < 1 or out_channels < 1 or in_channels % groups or out_channels % groups:
            raise LayerError(
                f"groups={groups} does not divide {in_channels} input and {out_channels} output channels"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.input_size = pair("input_size", input_size)
        self.kernel_size = pair("kernel_size", kernel_size)
        self.stride = pair("stride", stride)
        self.padding = padding
        self.dilation = pair("dilation", dilation)
        self.mode, self.normalize = mode, normalize
        self.fan_in = in_channels // groups * math.prod(self.kernel_size) if fan_in is None else fan_in
        if self.fan_in <= 0:
            raise LayerError(f"fan_in={fan_in} must be positive; None takes C_in/groups * K^2")
        self.maps = nn.Parameter(torch.empty(math.prod(self.input_size), in_channels // groups, out_channels))
        out_size = self.output_size(*self.input_size)
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels, *out_size)) if bias else None)
        self.reset_parameters()

    def by_channels(self) -> Tensor:
        """The maps as the equations index them: (C_out, C_in/groups, H, W), a view. Writing into it changes the maps."""
        return self.maps.unflatten(0, self.input_size).permute(3, 2, 0, 1)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            raise LayerError(
                f"a weight map has no weight that could be set: its parameter is maps {tuple(self.maps.shape)}, and by_channels() shows "
                f"that as {tuple(self.by_channels().shape)}; fuse norms before surgeon.apply or after surgeon.revert"
            )
        super().__setattr__(name, value)

    def output_size(self, height: int, width: int) -> Pair:
        """The (H_out, W_out) of an input of height x width; LayerError if the window does not fit."""
        pads = resolve_padding(self.padding, self.kernel_size, self.stride, self.dilation)
        sides = zip((height, width), self.kernel_size, self.stride, pads, self.dilation, strict=True)
        return tuple(output_size(*side) for side in sides)  # type: ignore[return-value]  # two sides

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Weights and biases from U(-s, s), s = 1/sqrt(fan_in), the paper's start (section 4)."""
        bound = 1 / math.sqrt(self.fan_in)
        with torch.no_grad():
            for own in (self.by_channels(), self.bias):
                if own is not None:  # drawn in the order of the equations' axes, whatever lies how
                    drawn = torch.empty_like(own, memory_format=torch.contiguous_format)
                    own.copy_(drawn.uniform_(-bound, bound, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        height, width = self.input_size
        if x.dim() != 4 or x.shape[1] != self.in_channels or tuple(x.shape[2:]) != self.input_size:
            raise LayerError(
                f"this weight map is {height}x{width}, got an input of shape {tuple(x.shape)}; expected "
                f"(N, {self.in_channels}, {height}, {width}), or resize(H, W)"
            )
        return weight_map(
            x,
            self.by_channels(),
            self.bias,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            mode=self.mode,
            normalize=self.normalize,
        )

    def resize(self, height: int, width: int) -> WeightMap2d:
        """Interpolate weight and bias for height x width, in place (new parameters); warns; returns self."""
        out_size = self.output_size(height, width)
        weight = resize_maps(self.by_channels().detach(), height, width)
        if self.bias is not None:
            self.bias = resized_parameter(self.bias, *out_size)
        self.maps = nn.Parameter(_as_maps(weight), requires_grad=self.maps.requires_grad)
        old, self.input_size = self.input_size, (height, width)
        warn_resized("weight map layer", old, self.input_size)
        return self

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing: list[str],
        unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        """Takes weights in the equations' order too, under the name `weight`: before `maps`, they were saved so."""
        state = renamed(self, state_dict, prefix)
        super()._load_from_state_dict(state, prefix, local_metadata, strict, missing, unexpected, errors)
        if reason := unfit(self, state, prefix):
            errors.append(reason)  # as of another size, so with strict=False too

    def extra_repr(self) -> str:
        names = ("input_size", "kernel_size", "stride", "padding", "dilation", "groups", "mode", "normalize")
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.in_channels}, {self.out_channels}, {settings}, bias={self.bias is not None}"


def renamed(
    layer: WeightMap2d, state: Mapping[str, Tensor], prefix: str, *, certain: bool = False
) -> Mapping[str, Tensor]:
    """A state dict whose weight map at `prefix` has `maps`, made of a `weight` in the equations' order where it has that alone.

    A convolution's `weight` has the same name and number of axes. It is told by its shape, by that of the bias, and where neither
    tells, it is a convolution's. certain: the state is known to be that of weight maps.
    """
    if not (certain or tells(layer)) or not laid_out(layer, state, prefix):
        return state
    old = f"{prefix}weight"
    return {k: v for k, v in state.items() if k != old} | {f"{prefix}maps": _as_maps(state[old])}


def tells(layer: WeightMap2d) -> bool:
    """Whether shapes alone tell the map's weights in the equations' order from those of the convolution in its place."""
    return layer.bias is not None or layer.input_size != layer.kernel_size


def unfit(layer: WeightMap2d, state: Mapping[str, Tensor], prefix: str) -> str:
    """Why a `weight` in place of `maps` is not taken, and what would work; "" where there is none."""
    old, height, width = f"{prefix}weight", *layer.input_size
    if old not in state or f"{prefix}maps" in state:
        return ""
    return (
        f"{old}, {tuple(state[old].shape)}, is not that of a weight map of {height}x{width}, which is {prefix}maps: weights of a "
        "network with a convolution there load into it before surgeon.apply"
    )


def laid_out(layer: WeightMap2d, state: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether the state has, in place of `maps`, a `weight` of the map's shape in the equations' order, and its bias."""
    weight, bias = state.get(f"{prefix}weight"), state.get(f"{prefix}bias")
    if weight is None or f"{prefix}maps" in state:
        return False
    shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.input_size)
    fits = layer.bias is None or (bias is not None and bias.shape == layer.bias.shape)
    return tuple(weight.shape) == shape and fits


def _as_maps(weight: Tensor) -> Tensor:
    return weight.permute(2, 3, 1, 0).flatten(0, 1).contiguous()


@torch.no_grad()
def init_from_conv(
    layer: WeightMap2d, conv_weight: Tensor, conv_bias: Tensor | None = None, *, start: str = "mean"
) -> WeightMap2d:
    """Start `layer` from the convolution that it replaces, in place, and return it.

    `conv_weight` (C_out, C_in/groups, kh, kw), `conv_bias` (C_out,) or None (zeros). `start="mean"`: every
    position of W[co,ci] is the mean of that kernel. `start="projection"`: its coefficient on the layer's own
    pattern of taps (ones, or twice the centre minus ones), the nearest constant map; for smoothing this is
    the mean.
    Here: both are ours, and with `normalize` the ones are 1/(kh kw), so that smoothing still keeps a constant
    kernel exactly.
    Raises LayerError if the shapes do not belong to this layer, or the layer has no bias to take `conv_bias`.
    """
    if start not in STARTS:
        raise LayerError(f"start={start!r} is not known; 'mean' and 'projection' are")
    expected = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    if tuple(conv_weight.shape) != expected:
        raise LayerError(
            f"a convolution weight of shape {tuple(conv_weight.shape)} does not fit; expected {expected}"
        )
    if conv_bias is not None and layer.bias is None:
        raise LayerError("the convolution has a bias but the weight map layer was made with bias=False")
    if conv_bias is not None and tuple(conv_bias.shape) != (layer.out_channels,):
        raise LayerError(
            f"a bias of shape {tuple(conv_bias.shape)} does not fit; expected ({layer.out_channels},)"
        )
    taps = torch.ones(layer.kernel_size, dtype=torch.float64, device=conv_weight.device)
    if layer.normalize:
        taps /= taps.numel()
    if start == "projection" and layer.mode == "unsharp":
        kh, kw = layer.kernel_size
        taps = -taps
        taps[(kh - 1) // 2, (kw - 1) // 2] += 2
    value = (conv_weight.double() * taps).sum((2, 3)) / taps.square().sum()
    maps = layer.by_channels()
    maps.copy_(value[:, :, None, None].expand_as(maps))
    if layer.bias is not None:
        bias = torch.zeros_like(layer.bias[:, 0, 0]) if conv_bias is None else conv_bias
        layer.bias.copy_(bias[:, None, None].expand_as(layer.bias))
    return layer
