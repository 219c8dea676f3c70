"""The weights that a convolution effectively uses, and convolutions with other weights or more channels.

Weight-standardised convolutions normalise each kernel before use; timm's scaled ones then multiply it by a
learned gain (Brock et al. 2021, arXiv 2101.08692, eq. 3). Algebra on kernels needs the weights after that.
"""

from __future__ import annotations

import copy
from types import TracebackType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.tensors.memory_format import memory_format_of
from surgeon.torch_private import ConvNd, ConvTransposeNd


class _Scaled(ConvNd):
    """The attributes that timm's ScaledStdConv2d has besides a convolution's, for type checkers."""

    gain: nn.Parameter
    scale: float
    eps: float


def effective_weight(conv: ConvNd) -> Tensor:
    """Return the kernels that a convolution effectively convolves with, output channels first and detached.

    Args:
        conv: The convolution. For timm's ScaledStdConv2d, the result is the standardised kernels times gain
            and scale.

    Returns:
        (C_out, C_in / groups, *kernel); for a transposed convolution (C_out, C_in, *kernel).

    Raises:
        LayerError: A transposed convolution has groups.

    Examples:
        >>> from torch import nn
        >>> effective_weight(nn.ConvTranspose2d(3, 8, 5)).shape
        torch.Size([8, 3, 5, 5])
    """
    weight = conv.weight.detach()
    if isinstance(conv, ConvTransposeNd):
        if conv.groups != 1:
            raise LayerError(
                f"a transposed convolution with groups={conv.groups}; only groups=1 is supported"
            )
        return weight.transpose(0, 1)
    if not is_scaled(conv):
        return weight
    flat = weight.flatten(1)
    gain = (conv.gain.detach() * conv.scale).flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    return (gain * centred / (flat.var(1, unbiased=False, keepdim=True) + conv.eps).sqrt()).view_as(weight)


def is_scaled(conv: nn.Module) -> TypeGuard[_Scaled]:
    """Say whether a convolution standardises its kernels and scales each by a learned gain.

    Args:
        conv: Any module.

    Returns:
        Whether it does.
    """
    return all(hasattr(conv, name) for name in ("gain", "scale", "eps")) and isinstance(conv, ConvNd)


def with_weight(conv: ConvNd, weight: Tensor, bias: Tensor | None) -> ConvNd:
    """Return a new convolution like another, with given effective kernels and bias.

    Args:
        conv: The convolution. If it is a scaled one, its gain takes up the size of the kernels.
        weight: (C_out', C_in / groups, *kernel); C_out' may differ from C_out. For a scaled convolution the
            kernels' means must be zero, as those of any linear combination of its own kernels are.
        bias: (C_out',) or None.

    Returns:
        The convolution.

    Examples:
        >>> from torch import nn
        >>> conv = nn.Conv2d(3, 8, 3, padding=1)
        >>> wider = with_weight(conv, torch.zeros(16, 3, 5, 5), None)
        >>> wider.out_channels, wider.padding, wider.bias
        (16, (1, 1), None)
    """
    new = _shell(conv)
    new.out_channels = weight.shape[0]
    if isinstance(conv, ConvTransposeNd):
        stored = weight.transpose(0, 1)
    elif is_scaled(conv):
        deviation = weight.flatten(1).std(1, unbiased=False).clamp_min(torch.finfo(weight.dtype).tiny)
        shape = (-1, *[1] * (weight.dim() - 1))
        stored = weight / deviation.view(shape)
        gain = deviation * (1 + conv.eps) ** 0.5 / conv.scale
        taken_up = nn.Parameter(gain.view(shape).to(conv.gain), requires_grad=conv.gain.requires_grad)
        new.register_parameter("gain", taken_up)
    else:
        stored = weight
    new.weight = nn.Parameter(
        laid_like(stored.to(conv.weight), conv.weight), requires_grad=conv.weight.requires_grad
    )
    if bias is None:
        new.bias = None
    else:
        grad = conv.bias.requires_grad if conv.bias is not None else conv.weight.requires_grad
        new.bias = nn.Parameter(bias.to(conv.weight), requires_grad=grad)
    return new


def laid_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor in channels_last if another is, otherwise contiguous.

    Args:
        tensor: The tensor.
        like: The other.

    Returns:
        The tensor, copied if necessary.
    """
    return tensor.contiguous(memory_format=memory_format_of(like))


def with_channels(conv: ConvNd, channels: int, generator: torch.Generator) -> ConvNd:
    """Return a new, freshly initialised convolution like another, with another number of output channels.

    The initialisation is the class's own `reset_parameters`.

    Args:
        conv: The convolution.
        channels: Number of output channels.
        generator: Source of the random numbers.

    Returns:
        The convolution.

    Raises:
        LayerError: The groups do not divide `channels`.
    """
    if channels % conv.groups:
        raise LayerError(f"{channels} channels cannot be divided into the convolution's {conv.groups} groups")
    shape = (
        list(effective_weight(conv).shape)
        if not isinstance(conv, ConvTransposeNd)
        else [conv.weight.shape[1], conv.weight.shape[0], *conv.weight.shape[2:]]
    )
    shape[0] = channels
    blank = torch.zeros(shape, dtype=conv.weight.dtype, device=conv.weight.device)
    new = with_weight(conv, blank, None if conv.bias is None else blank.new_zeros(channels))
    with seeded(generator):
        new.reset_parameters()
    return new


class seeded:  # noqa: N801 - used as a context manager
    """Context manager that seeds torch's global CPU generator from another generator.

    The state of the global generator is restored at the end.

    Args:
        generator: Source of the seed.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))

    def __enter__(self) -> None:
        self.fork = torch.random.fork_rng(devices=[])
        self.fork.__enter__()
        torch.random.default_generator.manual_seed(self.seed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.fork.__exit__(kind, error, trace)


def _shell(conv: ConvNd) -> ConvNd:
    """Copy a convolution without copying its tensors; children are shared."""
    new = copy.copy(conv)
    new._parameters = dict(conv._parameters)
    new._buffers = dict(conv._buffers)
    new._modules = dict(conv._modules)
    return new


def margins(layer: Any) -> tuple[tuple[int, int], ...]:
    """Return how much a convolution pads each side, also where its padding is given as "same" or "valid".

    Args:
        layer: The convolution.

    Returns:
        (before, after) for each axis of its kernel. Of an odd number torch's "same" puts the larger half behind.

    Examples:
        >>> margins(torch.nn.Conv2d(1, 1, (3, 4), padding="same"))
        ((1, 1), (1, 2))
    """
    if layer.padding == "valid":
        return tuple((0, 0) for _ in layer.kernel_size)
    if layer.padding == "same":
        whole = [d * (k - 1) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        return tuple((w // 2, w - w // 2) for w in whole)
    return tuple((p, p) for p in layer.padding)
