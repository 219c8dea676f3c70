"""Networks whose weights are about to be loaded: made without drawing random ones first.

Drawing takes most of a large network's creation, and each weight is then overwritten.
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
    torch.ops.aten.erfinv_.default,  # the rest of a truncated normal distribution, for which nothing was drawn
}


class Blank(TorchDispatchMode):
    """Within, parameters that would be drawn stay as memory gave them. Everything else is computed, buffers too."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # fmt: skip
        if func in _DRAWS and isinstance(args[0], nn.Parameter):
            return args[0]
        return func(*args, **(kwargs or {}))
