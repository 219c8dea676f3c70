"""The paper's controls: layerwise adversarial training (LAT), and Gaussian noise without a gradient."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from surgeon.methods.adversarial_noise.base import NoiseLayer
from surgeon.methods.adversarial_noise.hooks import hooked
from surgeon.tensors.gaussian import add_noise


class LAT(NoiseLayer):
    """h' = h + ε sign(g), g the gradient of the previous batch, sample by sample.

    If the previous batch was smaller, the samples beyond it get no noise.
    `epsilon` is in units of the activations.
    Here: activations of another shape than the previous batch's start anew, without noise.

    Examples:
        >>> import torch
        >>> layer, h = LAT(0.5), torch.tensor([[1.0, -1.0]], requires_grad=True)
        >>> (layer(h) ** 2).sum().backward()
        >>> layer(h)
        tensor([[ 1.5000, -1.5000]], grad_fn=<AddBackward0>)
    """

    source: ClassVar[str] = "lat"
    resting: ClassVar[str] = "perturb"
    previous: Tensor | None

    def reset(self) -> None:
        super().reset()
        self.previous = None

    def get_memory(self) -> dict[str, Tensor]:
        return super().get_memory() | ({} if self.previous is None else {"previous": self.previous})

    def set_memory(self, memory: dict[str, Tensor]) -> None:
        """Restore the signs of the previous batch's gradient.

        Args:
            memory: What `get_memory` returned.
        """
        super().set_memory(memory)
        self.previous = memory.get("previous")

    def perturb(self, h: Tensor) -> Tensor:
        """Add ε sign(g) of the previous batch, and remember the signs of this batch's gradient.

        Args:
            h: (N, ...).

        Returns:
            `h` with noise, a new tensor.
        """
        out = h
        if self.previous is not None and self.previous.shape[1:] == h.shape[1:]:
            n = min(len(h), len(self.previous))
            eta = torch.zeros_like(h, requires_grad=False)
            eta[:n] = self.previous[:n].to(h.device, h.dtype) * self.epsilon
            out = h + eta

        def keep(gradient: Tensor) -> None:
            self.previous = (gradient > 0).to(torch.int8) - (gradient < 0).to(torch.int8)

        return hooked(h.clone() if out is h else out, keep)


class GaussianControl(NoiseLayer):
    """h' = h + N(0, (ε/4)²), from torch's global random stream; `epsilon` is in units of the activations.

    Examples:
        >>> import torch
        >>> layer, h = GaussianControl(0.4), torch.zeros(1000, 10)
        >>> bool((layer(h).std() - 0.1).abs() < 0.01), torch.equal(layer.eval()(h), h)
        (True, True)
    """

    source: ClassVar[str] = "gaussian"
    resting: ClassVar[str] = "perturb"

    def perturb(self, h: Tensor) -> Tensor:
        """Add N(0, (ε/4)²).

        Args:
            h: (N, ...).

        Returns:
            `h` with noise.
        """
        return add_noise(h, abs(self.epsilon) / 4, self)
