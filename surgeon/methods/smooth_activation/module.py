"""A smooth ReLU as the module to insert: the same in training and in evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.methods.smooth_activation.maths import To, smooth_relu
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.traced import Proxy, called


class SmoothReLU(OptionalState):
    """f(β x) / β, with β, (), as a persistent buffer.

    Args:
        to: f: "silu", "gelu" or "softplus".
        beta: β > 0. The larger, the closer to ReLU.

    Examples:
        >>> import torch
        >>> round(float(SmoothReLU("softplus", 1.0)(torch.zeros(()))), 4)
        0.6931
    """

    beta: Tensor

    def __init__(self, to: To, beta: float = 1.0) -> None:
        super().__init__()
        self.to_function = to
        self.register_buffer("beta", torch.tensor(float(beta)))

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        return smooth_relu(x, self.beta.to(x.dtype), self.to_function)

    def extra_repr(self) -> str:
        return self.to_function
