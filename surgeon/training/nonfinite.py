"""Find the first layer that produced NaN or inf, and weights that are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from surgeon.errors import TrainingError


@torch.no_grad()
def first_nonfinite(model: nn.Module, x: Tensor) -> str:
    """Find the first value in execution order that is NaN or infinite.

    Args:
        model: The network.
        x: (N, C, H, W), the input that led to a non-finite loss.

    Returns:
        A clause that names the place (the images, a layer's weights or a layer's output), or says that the output of
        every layer is finite, so that the loss itself is at fault.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.training.nonfinite import first_nonfinite
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> _ = nn.init.constant_(model[1].bias, torch.nan)
        >>> first_nonfinite(model, torch.zeros(1, 1, 2, 2))
        'the weights 1.bias are not finite'
    """
    if not bool(torch.isfinite(x).all()):
        return "it is in the images already"
    places: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not places and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                weights = [n for n, p in module.named_parameters() if not bool(torch.isfinite(p).all())]
                places.append(
                    f"the weights {name}.{weights[0]} are not finite"
                    if weights
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
    return places[0] if places else "every layer's output is finite"


@torch.no_grad()
def check_weights(model: nn.Module, place: str) -> None:
    """Check that a step left all weights finite: a loss need not show it, as of kernel places that see padding alone.

    Args:
        model: The network.
        place: The step, for the message.

    Raises:
        TrainingError: A weight is NaN or infinite.
    """
    name = next((n for n, p in model.named_parameters() if not bool(torch.isfinite(p).all())), "")
    if name:
        raise TrainingError(
            f"weights are not finite {place}: those of {name}, while the loss was finite; try a smaller learning rate, "
            "clip_grad, warmup_epochs, or float32 in place of half precision"
        )
