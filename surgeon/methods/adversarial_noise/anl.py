"""ANL, the Adversarial Noise Layer with the gradient of the batch itself: two rounds a step (Algorithm 1)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise import cpu, gpu
from surgeon.methods.adversarial_noise.gradient_noise import GradientNoise, added


class ANL(GradientNoise):
    """h' = h + r s(h) g/‖g‖∞, g the gradient of this batch, from a first round at η = 0.

    In round 1, phase "record", forward keeps in `batch.recorded` what torch.autograd.grad accepts as an
    input; give the gradient to `set_gradient`. Round 2 is in phase "perturb". Arguments are those of
    `GradientNoise`.

    Raises:
        LayerError: A setting is invalid; in forward, the batch has no gradient, or there was a second call in
            one recording.

    Examples:
        >>> import torch
        >>> layer, h = ANL(0.1, seed=0), torch.tensor([[0.0, 1.0], [2.0, 3.0]], requires_grad=True)
        >>> layer.enter("record")
        >>> loss = (layer(h) ** 2).sum()
        >>> layer.set_gradient(torch.autograd.grad(loss, layer.batch.recorded)[0])
        >>> layer.enter("perturb")
        >>> torch.equal(layer(h), h), torch.equal(layer.eval()(h), h)
        (False, True)
    """

    source: ClassVar[str] = "anl"
    needs_gradient: ClassVar[bool] = True

    def set_gradient(self, gradient: Tensor | None) -> None:
        """Give the layer the gradient of round 1, eq. 3. It is detached, and r is drawn for it.

        Args:
            gradient: dJ/dh, (N, ...). None, which autograd returns if the loss does not depend on the layer,
                means no noise.

        Raises:
            LayerError: The gradient has another shape than the recorded activations, or is None and nothing
                was recorded.
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
        """Note the place of the activations in the autograd graph, for the gradient of round 1.

        Args:
            h: (N, ...).

        Returns:
            A tensor equal to `h`.

        Raises:
            LayerError: The layer was called before in this recording.
        """
        batch = self.batch
        if batch.recorded is not None:
            raise LayerError(
                "this adversarial noise layer was called twice in one recording, so that its gradient is not "
                "one place's; give each call its own layer, or enter phase 'record' again to start over"
            )
        batch.like = h.detach().new_empty(()).expand(h.shape)
        if h.requires_grad and not h._is_view():
            # The edge in the autograd graph, not the tensor: an in-place activation may overwrite the tensor.
            batch.recorded = torch.autograd.graph.get_gradient_edge(h)
            return h
        # Writing into a view in place changes its edge, and an image has no edge: record a new tensor.
        recorded = h.view_as(h) if h.requires_grad else h.detach().requires_grad_()
        batch.recorded = recorded
        # A clone goes on: an activation behind may write in place, which torch refuses on a leaf that needs
        # gradients.
        return recorded.clone()

    def perturb(self, h: Tensor) -> Tensor:
        """Add the noise of eq. 4 along the gradient of round 1.

        Args:
            h: (N, ...).

        Returns:
            `h` with noise.

        Raises:
            LayerError: There is no gradient for this batch.
        """
        gradient, magnitude = self.batch.gradient, self.batch.magnitude
        if gradient is None or magnitude is None or gradient.shape != h.shape:
            stored = "none" if gradient is None else f"one of shape {tuple(gradient.shape)}"
            raise LayerError(
                f"anl has no gradient for this batch of shape {tuple(h.shape)} (stored: {stored}); it needs the "
                "two-round step of surgeon.training.adversarial_noise, or source='canl', which takes one round"
            )
        if self.measures_alone and cpu.takes(h):
            return cpu.perturbed(h, gradient, magnitude)
        if self.measures_alone and gpu.takes(h):
            return gpu.perturbed(h, gradient, magnitude)
        return added(h, self._eta(h, gradient, magnitude))
