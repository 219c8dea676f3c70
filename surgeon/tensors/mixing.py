"""A mixing of channels, y ↦ M·y + c at each position, folded into the convolution or linear layer beside it.

With W the weights and b the bias of the layer, a mixing behind it gives M·W and M·b + c, one in front of it W·M and
b + W·c: products of matrices at each position of the kernel.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.errors import FoldError
from surgeon.tensors.convolution import effective_weight, is_scaled, with_weight
from surgeon.torch_private import ConvNd, ConvTransposeNd


def with_mixing(
    module: Any,
    matrix: Tensor,
    constant: Tensor | None = None,
    *,
    before: bool = False,
    next_norm: Any = None,
) -> nn.Module:
    """Merge a mixing of channels into the layer beside it.

    Computed in float64. `surgeon.methods.cannot_mix` and `cannot_shift` say from a site alone whether it works.

    Args:
        module: A convolution or linear layer, which is left untouched. One that standardises its weights on every call
            (but timm's ScaledStdConv2d) must not be given: its weights here are not those that it uses.
        matrix: M, (C, C): of its C output channels, or with `before` of its C input channels. Of a layer with groups M
            must be 0 where it would cross them.
        constant: c, (C,), or None for 0.
        before: Whether the mixing stands in front of the layer. Default: behind it.
        next_norm: The norm that alone consumes the layer, or None. Its running mean, changed in place, takes up the
            constant where the layer has no bias.

    Returns:
        A new layer of the same shapes.

    Raises:
        FoldError: No layer of the same shapes equals the two.

    Examples:
        >>> import torch
        >>> linear = torch.nn.Linear(3, 2)
        >>> x, swap = torch.rand(4, 3), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> torch.equal(with_mixing(linear, swap)(x), linear(x).flip(1))
        True
    """
    if not isinstance(module, (ConvNd, nn.Linear)):
        raise FoldError(f"{type(module).__name__} is neither a convolution nor a linear layer")
    groups = getattr(module, "groups", 1)
    transposed = isinstance(module, ConvTransposeNd)
    if transposed and groups > 1:
        raise FoldError(f"a transposed convolution with groups={groups}; only groups=1 folds")
    if before and is_scaled(module):
        raise FoldError("its kernels are standardised to mean 0, which those of mixed inputs do not have")
    weight = (effective_weight(module) if isinstance(module, ConvNd) else module.weight.detach()).double()
    channels = weight.shape[1] * groups if before else len(weight)
    mixing = matrix.detach().to(weight)
    if tuple(mixing.shape) != (channels, channels):
        raise FoldError(
            f"a mixing of shape {tuple(matrix.shape)} does not fit; expected {(channels, channels)}"
        )
    blocks = mixing.view(groups, channels // groups, groups, channels // groups)
    if bool(blocks.abs().amax((1, 3)).fill_diagonal_(0).any()):
        raise FoldError(f"the mixing crosses its {groups} groups")
    shift = None if constant is None else constant.detach().to(weight)
    if shift is not None and tuple(shift.shape) != (channels,):
        raise FoldError(f"a constant of shape {tuple(shift.shape)} does not fit; expected {(channels,)}")
    bias = None if module.bias is None else module.bias.detach().double()
    if before:
        if shift is not None:
            _demand_no_border(module)
            parts = weight.flatten(2).sum(2) if weight.dim() > 2 else weight
            grouped = parts.view(groups, -1, parts.shape[1])
            shift = torch.einsum("goi,gi->go", grouped, shift.view(groups, -1)).flatten()
        own = blocks.diagonal(dim1=0, dim2=2)  # (in group, in group, groups)
        split = weight.view(groups, -1, *weight.shape[1:])
        weight = torch.einsum("goi...,ijg->goj...", split, own).reshape(weight.shape)
    else:
        weight = torch.tensordot(mixing, weight, 1)
        bias = None if bias is None else mixing @ bias
    if shift is not None:
        bias = _shifted(bias, shift, next_norm)
    return _like(module, weight, bias)


def take_up(norm: Any, constant: Tensor) -> None:
    """Have a norm expect inputs that lack a constant: its running mean, in place, gives it up.

    Args:
        norm: The norm, or None.
        constant: (C,): what was added to its inputs and is not any more.

    Raises:
        FoldError: It has no running mean.

    Examples:
        >>> import torch
        >>> norm = nn.BatchNorm1d(2)
        >>> take_up(norm, torch.tensor([1.0, 2.0]))
        >>> norm.running_mean
        tensor([-1., -2.])
    """
    if getattr(norm, "running_mean", None) is None:
        raise FoldError(
            "the output is shifted, and neither a bias nor a running mean behind it can take that up"
        )
    norm.running_mean = norm.running_mean - constant.to(norm.running_mean)


def _shifted(bias: Tensor | None, shift: Tensor, norm: Any) -> Tensor | None:
    """Return the bias with a constant added; without a bias, a norm takes the constant up."""
    if bias is None:
        take_up(norm, shift)
        return None
    return bias + shift


def _demand_no_border(module: Any) -> None:
    """Raise FoldError where a constant in front of a convolution is not a constant behind it."""
    if isinstance(module, nn.Linear):
        return
    padding = module.padding if isinstance(module.padding, (tuple, list)) else (module.padding,)
    zeros = module.padding_mode == "zeros" and any(p not in (0, "valid") for p in padding)
    if isinstance(module, ConvTransposeNd) or zeros or type(module).__name__.endswith("Same"):
        raise FoldError("the zeros at its border are not shifted by a constant in front of it")


def _like(module: Any, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """Return a new layer like another, with other weights."""
    dtype = module.weight.dtype
    cast = None if bias is None else bias.to(dtype)
    if isinstance(module, ConvNd):
        return with_weight(module, weight.to(dtype), cast)
    new = copy.copy(module)
    new._parameters = dict(module._parameters)
    for name, value in (("weight", weight.to(dtype)), ("bias", cast)):
        old = module._parameters[name]
        if old is not None and value is not None:
            new._parameters[name] = nn.Parameter(value, requires_grad=old.requires_grad)
    return new
