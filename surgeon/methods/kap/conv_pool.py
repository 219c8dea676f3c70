"""Decide when it is cheaper to pool a convolution's weights than its outputs.

Mean pooling along channels is linear, KAP(conv(x; W, b)) = conv(x; A W, A b) (Bashivan et al., eq. 3), so
each forward pass may pool whichever has fewer numbers. `weights.py` does the same once and for all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surgeon.tensors.recording import exporting

_PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_OWN_TENSORS = (Tensor, nn.Parameter)
_METHODS = ("__call__", "_call_impl", "forward", "_conv_forward")
_TORCHS = {kind: tuple(getattr(kind, name) for name in _METHODS) for kind in _PLAIN}
"""The methods that a call of a convolution runs, as torch defines them."""


def pools_weights(conv: Any, x: Tensor) -> bool:
    """Say whether to pool the weights of a convolution instead of its outputs.

    That needs fewer weights than outputs, a convolution of torch's own class whose methods nobody replaced,
    one group, and plain weights. It is never done during export, since an export must hold for every batch
    size.

    Args:
        conv: The convolution.
        x: Its input, (N, C, *spatial).

    Returns:
        Whether the weights should be pooled.
    """
    if not _is_torchs(conv) or conv.groups != 1 or type(conv.weight) not in _OWN_TENSORS:
        return False
    if torch.jit.is_tracing() or exporting() or x.dim() != conv.weight.dim():
        return False
    return conv.weight[0].numel() < len(x) * _places(conv, x)


def convolve(conv: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return `conv(x)` with another weight and bias.

    Args:
        conv: The convolution.
        x: (N, C, *spatial).
        weight: Of the shape of its weight.
        bias: (C_out,) or None.

    Returns:
        (N, C_out, *spatial).
    """
    return conv._conv_forward(x, weight, bias)


def _is_torchs(conv: Any) -> bool:
    """Say whether a call runs torch's own code, with no patch on the class or the object."""
    kind = type(conv)
    own = _TORCHS.get(kind)
    if own is None or "_conv_forward" in conv.__dict__ or "_call_impl" in conv.__dict__:
        return False
    return (
        kind.forward is own[2]
        and kind._conv_forward is own[3]
        and kind.__call__ is own[0]
        and kind._call_impl is own[1]
    )


def _places(conv: Any, x: Tensor) -> int:
    """Return the number of positions of the output."""
    count = 1
    for axis, side in enumerate(x.shape[2:]):
        padding = 0 if isinstance(conv.padding, str) else conv.padding[axis]
        if conv.padding != "same":
            span = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
            side = (side + 2 * padding - span - 1) // conv.stride[axis] + 1
        count *= max(side, 0)
    return count
