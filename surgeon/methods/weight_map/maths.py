"""The weight map layer on tensors: one weight per position, then a fixed filter of ones.

Paper: "Weight Map Layer for Noise and Adversarial Attack Robustness", eq. 1-4. The sum over input channels
commutes with the filter, so the maps are summed first, a batched matrix product over the positions, and
filtered once; the N × C_out × C_in × H × W tensor of the equations is never formed. `places.py` lays the
activations out for the product, `cpu.py` and `gpu.py` have shorter ways, `module.py` is the layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.weight_map import cpu, gpu
from surgeon.methods.weight_map.box import box
from surgeon.methods.weight_map.filtering import Filter
from surgeon.methods.weight_map.places import as_one, from_channels_last, from_places, places_of, to_places
from surgeon.tensors.memory_format import lying, memory_format_of, transformed
from surgeon.tensors.recording import recording
from surgeon.torch_private import is_functorch_wrapped_tensor

MODES = ("smoothing", "unsharp")
Pair = tuple[int, int]


def weight_map(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    mode: str = "smoothing",
    normalize: bool = False,
) -> Tensor:
    """Apply a weight map: a weight per position (eq. 1), then a filter of ones K (eq. 2, or 3 and 4).

    With m = W ⊙ x, smoothing is ones_K * Σ_ci m + b, and unsharp is Σ_ci (2 m − ones_K * m) + b. Only zero
    padding.

    Here: stride, padding, dilation and groups are the convolution's; the paper has only stride 1 and equal
    sizes. The term 2 m is taken at the centres of the windows, 0 if a centre lies in the padding; if K is
    even and the dilation 1, the centre is the earlier of the two middle places. `normalize` is ours.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in/groups, H, W); fastest if it is a view of (H, W, C_in/groups, C_out) memory.
        bias: (C_out, H_out, W_out) or None.
        kernel_size: Side of the filter, or (height, width).
        stride: As nn.Conv2d's, as are padding, dilation and groups.
        padding: A number, a pair, "same" or "valid".
        dilation: Distance of the filter's taps.
        groups: Groups of channels.
        mode: "smoothing" or "unsharp".
        normalize: Divide the ones by their number.

    Returns:
        (N, C_out, H_out, W_out), the size that a convolution with these arguments gives.

    Raises:
        LayerError: The mode is unknown, sizes do not fit each other, or the output is empty.

    Examples:
        >>> import torch
        >>> x, weight = torch.ones(1, 1, 2, 2), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> weight_map(x, weight, kernel_size=3, padding=1)
        tensor([[[[10., 10.],
                  [10., 10.]]]])
    """
    if mode not in MODES:
        raise LayerError(f"mode={mode!r} is not known; 'smoothing' and 'unsharp' are")
    kernel, step, holes = pair("kernel_size", kernel_size), pair("stride", stride), pair("dilation", dilation)
    pads = resolve_padding(padding, kernel, step, holes)
    c_out, per_group, *size = weight.shape
    if x.dim() != 4 or x.shape[1] != per_group * groups or list(x.shape[2:]) != size or c_out % groups:
        raise LayerError(
            f"a weight map of shape {tuple(weight.shape)} with groups={groups} expects an input "
            f"(N, {per_group * groups}, {', '.join(map(str, size))}), got {tuple(x.shape)}"
        )
    out_size = tuple(output_size(*side) for side in zip(size, kernel, step, pads, holes, strict=True))
    if x.shape[0] == 0:
        reached = sum(t.sum() for t in (x, weight, bias) if t is not None)
        return x.new_zeros(0, c_out, *out_size) + 0 * reached  # gradients are zeros, as for torch's layers
    divisor = kernel[0] * kernel[1] if normalize else 1
    last = memory_format_of(x) == torch.channels_last
    unsharp = mode == "unsharp"
    filtering = Filter(kernel, pads, -1 / divisor if unsharp else 1 / divisor, 2.0 if unsharp else 0.0)
    planes = cpu.takes(x, weight, bias, groups)
    if planes and step == holes == (1, 1) and filtering.keeps_size:
        return cpu.on_cpu(x, weight, bias, filtering)
    if gpu.takes(x, weight, step, holes, groups, filtering):
        out = gpu.on_gpu(x, weight, bias, filtering)
        return out if last else out.contiguous()
    together = not (planes or recording())  # a recorded graph would fix the batch size
    if planes:
        m = cpu.product(x, weight)
    else:
        summed = _sum_of_maps(to_places(x), weight, groups)
        m = as_one(summed, *size) if together else from_places(summed, *size)
        del summed
    out = box(m, kernel, step, pads, holes, divisor, negative=unsharp)
    if unsharp:
        centres = _at_centres(m, kernel, step, pads, holes, out_size)  # type: ignore[arg-type]  # two sides
        # Under vmap, and of a subclass that keeps its type, it is a view, which is not written to.
        view = together and (is_functorch_wrapped_tensor(out) or type(out) is not Tensor)
        out = torch.add(out, centres, alpha=2) if view else out.add_(centres, alpha=2)
        del centres  # a view of m
    del m
    if together:
        out = from_places(places_of(out, x.shape[0]), *out_size)
    if bias is not None:
        bias = lying(bias.to(out.dtype).unsqueeze(0), torch.channels_last)
        apart = not recording() and (transformed(bias) or type(out) is not Tensor)
        out = out + bias if apart else out.add_(bias)
    return out if last or planes else from_channels_last(out)


def output_size(size: int, kernel: int, stride: int, pads: Pair, dilation: int) -> int:
    """Return the length of one side of the output, as nn.Conv2d computes it.

    Args:
        size: Length of the input's side.
        kernel: Side of the window.
        stride: Stride.
        pads: Zeros before and after.
        dilation: Dilation.

    Returns:
        The length, at least 1.

    Raises:
        LayerError: The window does not fit.
    """
    span = dilation * (kernel - 1) + 1
    if size + sum(pads) < span:
        raise LayerError(f"a window of {span} does not fit a side of {size} padded by {pads[0]}+{pads[1]}")
    return (size + sum(pads) - span) // stride + 1


def pair(name: str, value: int | Pair, least: int = 1) -> Pair:
    """Return a setting for (height, width).

    Args:
        name: Name of the setting, for the message.
        value: One number for both, or two.
        least: Smallest valid number.

    Returns:
        (height, width).

    Raises:
        LayerError: It is not one or two integers of at least `least`.
    """
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(v, int) and v >= least for v in both):
        raise LayerError(f"{name}={value!r} must be an integer of at least {least}, or two of them")
    return both


def resolve_padding(
    padding: int | Pair | str, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    """Return the zeros (before, after) each side.

    Args:
        padding: A number, a pair, or nn.Conv2d's "same" and "valid".
        kernel: (height, width) of the window.
        stride: Stride along each side.
        dilation: Dilation along each side.

    Returns:
        ((top, bottom), (left, right)).

    Raises:
        LayerError: The padding is unknown, or is "same" with a stride.
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise LayerError(
                f"padding='same' needs stride 1, got stride={stride}; give the padding as a number"
            )
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return (total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2)
    if isinstance(padding, str):
        raise LayerError(f"padding={padding!r} is not known; a number, a pair, 'same' and 'valid' are")
    high, wide = pair("padding", padding, least=0)
    return (high, high), (wide, wide)


def _sum_of_maps(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return M[p,n,o] = Σ_i W[p,i,o] x[p,n,i], (H·W, N, C_out): a matrix product per position and group."""
    places, n, _ = x.shape
    c_out, per_group = weight.shape[:2]
    maps = weight.permute(2, 3, 1, 0).reshape(places, per_group, c_out)  # a view of the layer's own layout
    if per_group == 1:
        return x.repeat_interleave(c_out // groups, dim=2) * maps
    if groups == 1:
        return torch.bmm(x, maps)
    left = x.reshape(places, n, groups, per_group).transpose(1, 2).reshape(places * groups, n, per_group)
    right = maps.view(places, per_group, groups, c_out // groups).transpose(1, 2)
    product = torch.bmm(left, right.reshape(places * groups, per_group, c_out // groups))
    product = product.view(places, groups, n, c_out // groups).transpose(1, 2).reshape(places, n, c_out)
    return (
        product.contiguous()
    )  # with one output channel a group, the reshape above is a view across the memory


def _at_centres(
    m: Tensor, kernel: Pair, stride: Pair, pads: tuple[Pair, Pair], dilation: Pair, size: Pair
) -> Tensor:
    """Return `m` at the centres of the filter's windows, 0 outside of it: (N, C_out, *size)."""
    crop = []
    for side in (1, 0):  # F.pad counts from the last axis; a negative pad cuts
        first = dilation[side] * (kernel[side] - 1) // 2 - pads[side][0]
        last = first + stride[side] * (size[side] - 1)
        crop += [-first, last + 1 - m.shape[2 + side]]
    if any(crop):
        m = F.pad(m, crop)
    return m[:, :, :: stride[0], :: stride[1]]
