"""What a network's code computes once and keeps until its mode is set, such as LeViT's table of attention biases.

Whether it is there depends on whether the network was run before. A graph that was traced with it holds its values,
and is to be made anew as soon as the class throws it away: at `eval()`, `train()` or `to()`. So a copy that is to be
traced is brought to the state in which the class's own `train` leaves it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from surgeon.kept_modes import modes_kept

_OF_TORCH = frozenset(nn.Module().__dict__)


def throw_away(network: nn.Module) -> None:
    """Have the modules throw away the tensors that they keep in a dict, list or set, where their class does so when
    its mode is set; modes stay as they are. In place.
    """
    keep = {m for m in network.modules() if _keeps(m)}
    if not keep:
        return
    with modes_kept(network):
        for module in [*network.modules()]:
            # torch's own `train` throws nothing away; a class's own reaches the modules below it by itself.
            if type(module).train is not nn.Module.train and keep & set(module.modules()):
                module.train(module.training)


def _keeps(module: nn.Module) -> bool:
    return any(_has_tensor(v) for k, v in module.__dict__.items() if k not in _OF_TORCH)


def _has_tensor(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, set)) else ()
    return any(isinstance(v, torch.Tensor) for v in inside)
