"""ANL, the Adversarial Noise Layer with the gradient of the batch itself: two rounds a step (Algorithm 1)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise import gpu
from surgeon.methods.adversarial_noise.gradient_noise import GradientNoise, added


class ANL(GradientNoise):
    """h' = h + r s(h) g/||g||_inf, g the gradient of this batch by a first round at eta = 0.

    Round 1 in phase "record": forward keeps in `batch.recorded` what torch.autograd.grad takes as an input; give the gradient
    to `set_gradient`. Round 2 in phase "perturb".
    Raises LayerError for wrong settings, and in forward for a batch without its gradient, and a second call in one recording.
    """

    source: ClassVar[str] = "anl"
    needs_gradient: ClassVar[bool] = True

    def set_gradient(self, gradient: Tensor | None) -> None:
        """Give the layer dJ/dh (N, ...) of round 1, eq. 3; stored detached, and r is drawn for it.

        None, what autograd says of a layer that the loss does not depend on, means no noise.
        Raises LayerError for a gradient of another shape than the recorded one, and for None where nothing was recorded.
        """
        batch = self.batch
        like, batch.recorded, batch.like = batch.like, None, None
        if gradient is None and like is not None:
            gradient = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
        if gradient is None or (like is not None and gradient.shape != like.shape):
            got = None if gradient is None else tuple(gradient.shape)
            wanted = "phase 'record' to run first" if like is None else f"the recorded {tuple(like.shape)}"
            raise LayerError(f"set_gradient got {got}; expected {wanted}")
        batch.gradient = gradient.detach()
        batch.magnitude = self.draw(gradient.shape[0])

    def record(self, h: Tensor) -> Tensor:
        batch = self.batch
        if batch.recorded is not None:
            raise LayerError(
                "this adversarial noise layer was called twice in one recording, so that its gradient is not "
                "one place's; give each call its own layer, or enter phase 'record' again to start over"
            )
        batch.like = h.detach().new_empty(()).expand(h.shape)
        if h.requires_grad and not h._is_view():
            # Not the tensor, which an in-place activation may overwrite, but the place in the graph where it was made.
            batch.recorded = torch.autograd.graph.get_gradient_edge(h)
            return h
        recorded = h.view_as(h) if h.requires_grad else h.detach().requires_grad_()
        batch.recorded = recorded
        return recorded.clone()

    def perturb(self, h: Tensor) -> Tensor:
        gradient, magnitude = self.batch.gradient, self.batch.magnitude
        if gradient is None or magnitude is None or gradient.shape != h.shape:
            stored = "none" if gradient is None else f"one of shape {tuple(gradient.shape)}"
            raise LayerError(
                f"anl has no gradient for this batch of shape {tuple(h.shape)} (stored: {stored}); it needs the "
                "two-round step of surgeon.training.adversarial_noise, or source='canl', which takes one round"
            )
        if self.measures_alone and gpu.takes(h):
            return gpu.perturbed(h, gradient, magnitude)
        return added(h, self._eta(h, gradient, magnitude))
