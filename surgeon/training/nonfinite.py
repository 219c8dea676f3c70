"""Where a number that is none first came from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def first_nonfinite(model: nn.Module, x: Tensor) -> str:
    """A clause that names the first place, in execution order, with a value that is NaN or infinite.

    The images, a layer's own weights, a layer's output, or the loss, where the outputs of all layers are finite.
    """
    if not bool(torch.isfinite(x).all()):
        return "it is in the images already"
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                own = [n for n, p in module.named_parameters() if not bool(torch.isfinite(p).all())]
                found.append(
                    f"the weights {name}.{own[0]} are not finite"
                    if own
                    else f"it first shows in the output of layer {name} ({type(module).__name__})"
                )

        return hook

    leaves = [(n, m) for n, m in model.named_modules() if n and not any(True for _ in m.children())]
    hooks = [m.register_forward_hook(watch(n)) for n, m in leaves]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "every layer's output is finite"
