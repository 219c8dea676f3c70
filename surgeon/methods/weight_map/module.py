"""The weight map layer, a module that replaces a convolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.weight_map.maths import MODES, Pair, output_size, pair, resolve_padding, weight_map
from surgeon.tensors.instead import Instead
from surgeon.tensors.resize import resize_maps, resized_parameter, warn_resized
from surgeon.tensors.traced import Proxy, called

STARTS = ("mean", "projection")


class WeightMap2d(Instead):
    """A weight for every input position, then a fixed filter of ones ("Weight Map Layer ...", eq. 1-4).

    Parameters are `maps` (H, W · C_in/groups, C_out), laid out as the matrix products read it, and `bias`
    (C_out, H_out, W_out) or None; `by_channels()` shows the maps in the equations' order of axes. There is no
    `weight`, since other code would take the layer for a convolution. Here: the paper does not define a_in;
    `fan_in` defaults to that of the convolution, C_in/groups · K².

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        input_size: (H, W) of the input; no other size is accepted.
        kernel_size: Side of the filter, or (height, width).
        stride: As nn.Conv2d's, as are padding, dilation and groups.
        padding: A number, a pair, "same" or "valid".
        dilation: Distance of the filter's taps.
        groups: Groups of channels.
        mode: "smoothing" or "unsharp".
        normalize: Divide the ones by their number (the paper does not).
        bias: Whether to add a bias map.
        fan_in: Weights start from U(−s, s), s = 1/√fan_in.
        padding_mode: Only "zeros".

    Raises:
        LayerError: A setting is invalid for a convolution, or padding_mode is not "zeros".

    Examples:
        >>> import torch
        >>> layer = WeightMap2d(3, 8, (16, 16), 3, padding=1)
        >>> layer(torch.zeros(2, 3, 16, 16)).shape, layer.output_size(16, 16)
        (torch.Size([2, 8, 16, 16]), (16, 16))
        >>> layer.by_channels().shape, layer.resize(8, 8).maps.shape
        (torch.Size([8, 3, 16, 16]), torch.Size([8, 24, 8]))
    """

    as_convolution = True
    of_one_size = True
    """For code that looks after the cut: what comes in must keep its size."""
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
        height, width = self.input_size
        # Three axes, since torch lays a weight of four out anew for channels_last; two of them show the size.
        self.maps = nn.Parameter(torch.empty(height, width * (in_channels // groups), out_channels))
        out_size = self.output_size(*self.input_size)
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels, *out_size)) if bias else None)
        self.reset_parameters()

    def by_channels(self) -> Tensor:
        """Return the maps as the equations index them, (C_out, C_in/groups, H, W).

        It is a view: writing into it changes the maps.

        Returns:
            (C_out, C_in/groups, H, W).
        """
        return self.maps.unflatten(1, (self.input_size[1], -1)).permute(3, 2, 0, 1)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to set a `weight`, as code does that fuses norms into convolutions, and padding other than zeros.

        A stride or a dilation may be one number, as for nn.Conv2d.
        """
        if name == "weight":
            raise LayerError(
                "a weight map has no weight that could be set: its parameter is maps "
                f"{tuple(self.maps.shape)}, and by_channels() shows "
                f"that as {tuple(self.by_channels().shape)}; fuse norms before surgeon.apply or after surgeon.revert"
            )
        if name == "padding_mode" and value != "zeros":
            raise LayerError(f"padding_mode={value!r} is not known to a weight map, which pads with zeros")
        if name in ("stride", "dilation"):
            value = pair(name, value)
        super().__setattr__(name, value)

    def output_size(self, height: int, width: int) -> Pair:
        """Return the (H_out, W_out) of an input.

        Args:
            height: Height of the input.
            width: Width of the input.

        Returns:
            (H_out, W_out).

        Raises:
            LayerError: The window does not fit.
        """
        pads = resolve_padding(self.padding, self.kernel_size, self.stride, self.dilation)
        sides = zip((height, width), self.kernel_size, self.stride, pads, self.dilation, strict=True)
        return tuple(output_size(*side) for side in sides)  # type: ignore[return-value]  # two sides

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights and biases from U(−s, s), s = 1/√fan_in, the paper's start (section 4).

        Args:
            generator: Source of the random numbers. Default: torch's global one.
        """
        bound = 1 / math.sqrt(self.fan_in)
        with torch.no_grad():
            for own in (self.by_channels(), self.bias):
                if own is not None:  # in the equations' order: the layout must not change the numbers
                    drawn = torch.empty_like(own, memory_format=torch.contiguous_format)
                    own.copy_(drawn.uniform_(-bound, bound, generator=generator))

    def forward(self, input: Tensor) -> Tensor:  # the name that code calls a convolution's by
        """Apply the weight map.

        Args:
            input: (N, in_channels, H, W) with (H, W) = `input_size`.

        Returns:
            (N, out_channels, H_out, W_out), the size that nn.Conv2d with the same arguments gives.

        Raises:
            LayerError: The input has another size; the message says which size fits.
        """
        if isinstance(input, Proxy):
            return called(self, input)
        height, width = self.input_size
        if (
            input.dim() != 4
            or input.shape[1] != self.in_channels
            or tuple(input.shape[2:]) != self.input_size
        ):
            raise LayerError(
                f"this weight map is {height}x{width}, got an input of shape {tuple(input.shape)}; expected "
                f"(N, {self.in_channels}, {height}, {width}), or resize(H, W)"
            )
        return weight_map(
            input,
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
        """Interpolate maps and bias to another input size, in place, as new parameters; a warning is issued.

        Args:
            height: New height of the input.
            width: New width of the input.

        Returns:
            The layer itself.

        Raises:
            LayerError: The window does not fit, or a side is below 1.
        """
        out_size = self.output_size(height, width)
        weight = resize_maps(self.by_channels().detach(), height, width)
        if self.bias is not None:
            self.bias = resized_parameter(self.bias, *out_size)
        self.maps = nn.Parameter(_as_maps(weight), requires_grad=self.maps.requires_grad)
        old, self.input_size = self.input_size, (height, width)
        warn_resized("weight map layer", old, self.input_size)
        return self

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        """Say what works for the weights of a network with a convolution there, and for maps of another size."""
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)
        if reason := self.unfit(state_dict, prefix):
            errors.append(reason)  # an error even with strict=False, like a wrong size

    def unfit(self, state: Mapping[str, Tensor], prefix: str) -> str:
        old, new, (height, width) = f"{prefix}weight", f"{prefix}maps", self.input_size
        if (there := self._size_of(state.get(new))) not in (None, self.input_size):
            return (
                f"{new} is of images of {there[0]}x{there[1]}, and this weight map of {height}x{width}: cut for that "
                f"size (input_size), or resize({there[0]}, {there[1]}) before"
            )
        if old not in state or new in state:
            return ""
        return (
            f"{old}, {tuple(state[old].shape)}, is not that of a weight map of {height}x{width}, "
            f"which is {prefix}maps: weights of a "
            "network with a convolution there load into it before surgeon.apply"
        )

    def _size_of(self, maps: Tensor | None) -> Pair | None:
        """The (H, W) of maps of this layer's channels; None of other ones."""
        inside = self.in_channels // self.groups
        if maps is None or maps.dim() != 3 or maps.shape[1] % inside or maps.shape[2] != self.out_channels:
            return None
        return maps.shape[0], maps.shape[1] // inside

    def extra_repr(self) -> str:
        names = ("input_size", "kernel_size", "stride", "padding", "dilation", "groups", "mode", "normalize")
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.in_channels}, {self.out_channels}, {settings}, bias={self.bias is not None}"


def _as_maps(weight: Tensor) -> Tensor:
    """Turn a weight in the equations' order into the layout of `maps`."""
    return weight.permute(2, 3, 1, 0).flatten(1, 2).contiguous()


@torch.no_grad()
def init_from_conv(
    layer: WeightMap2d, conv_weight: Tensor, conv_bias: Tensor | None = None, *, start: str = "mean"
) -> WeightMap2d:
    """Start a weight map from the convolution that it replaces, in place.

    Here: both starts are ours. With `normalize` the ones are 1/(kh kw), so smoothing still keeps a constant
    kernel exactly.

    Args:
        layer: The layer.
        conv_weight: (C_out, C_in/groups, kh, kw).
        conv_bias: (C_out,), or None for zeros.
        start: "mean": every position of W[co, ci] is the mean of that kernel. "projection": it is the
            kernel's coefficient on the layer's own pattern of taps (ones, or twice the centre minus ones),
            the nearest constant map; for smoothing this is the mean.

    Returns:
        The layer.

    Raises:
        LayerError: The shapes do not fit the layer, or it has no bias to take `conv_bias`.
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
