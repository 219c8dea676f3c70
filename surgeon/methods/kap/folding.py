"""Folding: a convolution and its pooling as one convolution (eq. 3), also with a norm in between."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from surgeon.methods.kap.prenorm import PreNormKernelAveragePool
from surgeon.tensors.convolution import effective_weight, with_weight
from surgeon.tensors.mixing import take_up


def folded(conv: Any, layer: Any, next_norm: Any) -> nn.Module:
    """Merge a pooling into the convolution before it.

    The shift of a `PreNormKernelAveragePool` goes into the convolution's bias, or into the running mean of the
    norm that follows, which is changed in place.

    Args:
        conv: The convolution.
        layer: The pooling, with or without a norm.
        next_norm: The norm that follows, or None.

    Returns:
        A new convolution.

    Raises:
        FoldError: Nothing can take up the shift.
    """
    weight = effective_weight(conv).double()
    bias = None if conv.bias is None else conv.bias.detach().double()
    shift: Tensor | None = None
    pool = layer
    if isinstance(layer, PreNormKernelAveragePool):
        pool = layer.pool
        scale, offset = (t.double() for t in layer.affine())
        weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
        if bias is None:
            shift = pool.fold(offset)
        else:
            bias = offset + scale * bias
    if shift is not None:
        take_up(next_norm, shift)
    dtype = conv.weight.dtype
    constant = None if bias is None else pool.fold(bias).to(dtype)
    return with_weight(conv, pool.fold(weight).to(dtype), constant)
