"""Convolutions in bfloat16 on a CPU with kernel places that see padding alone.

Their gradients are 0. torch leaves some of them unwritten where the stride is above 1 (seen with torch 2.14, from 16
channels on, such as a 3×3 kernel of stride 2 on a map of 1×1): they are then whatever the memory held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.torch_private import ConvNd


class OnlyPadding:
    """Sets these gradients to 0, of the maps that the first step has.

    Args:
        model: The network.
        device: Where it is trained.
        precision: "no", "bf16" or "fp16".
    """

    def __init__(self, model: nn.Module, device: torch.device, precision: str) -> None:
        self._looking: list[Any] = []
        self._zeroing: dict[str, Any] = {}
        if device.type != "cpu" or precision != "bf16":
            return
        for name, module in model.named_modules():
            if isinstance(module, ConvNd) and not module.transposed and max(module.stride) > 1:
                self._looking.append(module.register_forward_pre_hook(self._look_at(name)))

    def seen(self) -> None:
        """Stop looking for such convolutions."""
        while self._looking:
            self._looking.pop().remove()

    def end(self) -> None:
        """Leave gradients as they are from now on."""
        self.seen()
        while self._zeroing:
            self._zeroing.popitem()[1].remove()

    def _look_at(self, name: str) -> Callable[[Any, tuple[Tensor, ...]], None]:
        def look(module: Any, inputs: tuple[Tensor, ...]) -> None:
            weight, blind = module.weight, blind_places(module, inputs[0].shape[2:])
            if name in self._zeroing or not bool(blind.any()) or not weight.requires_grad:
                return
            self._zeroing[name] = weight.register_hook(lambda gradient: gradient.masked_fill(blind, 0))

        return look


def blind_places(module: Any, sides: tuple[int, ...]) -> Tensor:
    """Find the places of a convolution's kernel that see padding alone.

    Args:
        module: The convolution.
        sides: Height and width of its input, or of other axes.

    Returns:
        For each place whether it does, of the kernel's shape.
    """
    blind = torch.zeros(module.kernel_size, dtype=torch.bool)
    for axis, side in enumerate(sides):
        stride, dilation = module.stride[axis], module.dilation[axis]
        # 'same' is for stride 1 alone, and 'valid' has no padding.
        padding = 0 if isinstance(module.padding, str) else module.padding[axis]
        places = torch.arange(module.kernel_size[axis]) * dilation - padding
        outputs = (side + 2 * padding - dilation * (module.kernel_size[axis] - 1) - 1) // stride + 1
        reached = places[:, None] + torch.arange(outputs) * stride
        alone = ~((reached >= 0) & (reached < side)).any(1)
        blind |= alone.view([-1 if a == axis else 1 for a in range(len(sides))])
    return blind
