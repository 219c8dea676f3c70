"""Create networks without drawing random weights, for weights that are loaded right afterwards.

Drawing them takes most of the time of a large network's creation, and each one would be overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from surgeon.torch_private import TorchDispatchMode

_DRAWS = {
    torch.ops.aten.normal_.default,
    torch.ops.aten.uniform_.default,
    torch.ops.aten.erfinv_.default,  # a step of trunc_normal_, on values that were not drawn
}


class Blank(TorchDispatchMode):
    """Mode in which random initialisation of parameters is skipped.

    Parameters keep whatever memory they were given. Everything else, buffers too, is computed as usual.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _DRAWS and isinstance(args[0], nn.Parameter):
            return args[0]
        return func(*args, **(kwargs or {}))
