"""Folding: a convolution and its constant channels as one convolution."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from surgeon.errors import FoldError


def folded(conv: Any, layer: Any, next_norm: Any) -> nn.Module:
    """Set the filters of the chosen channels to 0, and their biases to the means.

    Args:
        conv: The convolution.
        layer: The `ConstantChannels` behind it.
        next_norm: The norm that follows, or None. Where the convolution has no bias, its running mean is changed
            in place.

    Returns:
        A new convolution.

    Raises:
        FoldError: Nothing can take up the means.
    """
    new = copy.copy(conv)
    new._parameters = dict(conv._parameters)
    chosen = layer.chosen.to(conv.weight.device)
    mean = layer.mean.to(conv.weight)
    weight = conv.weight.detach()
    zeroed = weight.masked_fill(chosen.view(-1, *[1] * (weight.dim() - 1)), 0)
    new.weight = nn.Parameter(zeroed, requires_grad=conv.weight.requires_grad)
    if conv.bias is not None:
        bias = mean.where(chosen, conv.bias.detach())
        new.bias = nn.Parameter(bias, requires_grad=conv.bias.requires_grad)
    elif getattr(next_norm, "running_mean", None) is not None:
        shift = mean.where(chosen, mean.new_zeros(()))
        next_norm.running_mean = next_norm.running_mean - shift.to(next_norm.running_mean)
    else:
        raise FoldError(
            "the convolution has no bias, and no running mean follows that could take up the means"
        )
    return new
