"""Where a number that is none first came from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def first_nonfinite(model: nn.Module, x: Tensor) -> str:
    """A clause that names the first place, in execution order, with a value that is NaN or infinite.

    The images, a layer's own weights, a layer's output, or the loss, where all of the model's outputs are finite.
    """
    if not bool(torch.isfinite(x).all()):
        return "it is in the images already"
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return f"the weights {name} are not finite"
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(f"{name} ({type(module).__name__})")

        return hook

    leaves = [(n, m) for n, m in model.named_modules() if n and not any(True for _ in m.children())]
    hooks = [m.register_forward_hook(watch(n)) for n, m in leaves]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return f"it first shows in the output of layer {found[0]}" if found else "every layer's output is finite"
