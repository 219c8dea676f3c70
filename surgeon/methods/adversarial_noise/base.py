"""What all noise layers share: the phases of a training step, and what a step asks of a layer."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise.batch import PHASES, Batch
from surgeon.methods.adversarial_noise.maths import check_epsilon
from surgeon.tensors.gaussian import Drawing
from surgeon.tensors.shard import Shard
from surgeon.tensors.traced import Proxy, called


class NoiseLayer(Drawing, nn.Module):
    """Adds noise to its input (N, ...) in training; the identity in evaluation and if `enabled` is False.

    There are no parameters and no buffers: the state dict is the stock one. A training step has the layer
    `enter` phases:

    - "idle": the identity.
    - "record": the first of two rounds. A layer that `needs_gradient` notes the place where it is called in
      `batch.recorded`; give the gradient at that place to `set_gradient`. Other layers are the identity.
    - "perturb": the noise is added. A layer that `needs_labels` must have received them by `set_labels`.

    A step calls `begin`, has the layer enter phases, and calls `end`, after which it is in its `resting`
    phase. `batch` holds what belongs to one batch.

    In phase "perturb" the output is a new tensor. As the identity, and in phase "record" if possible, the
    output is the input itself, as without the layer; an in-place activation may overwrite it exactly if it
    could overwrite the input. Copies and pickles keep the phase and what the layer remembers of earlier
    batches, and drop the rest of `batch`.

    Args:
        epsilon: Size of the noise; finite.

    Raises:
        LayerError: `epsilon` is not finite.

    Examples:
        >>> import torch
        >>> class Doubling(NoiseLayer):
        ...     def perturb(self, h):
        ...         return h * (1 + self.epsilon)
        >>> layer, h = Doubling(1.0), torch.ones(2)
        >>> layer.begin(None)
        >>> layer.enter("perturb")
        >>> layer(h)
        tensor([2., 2.])
        >>> layer.end()
        >>> layer(h) is h
        True
    """

    source: ClassVar[str]
    """The name by which recipes ask for the layer."""
    settings: ClassVar[tuple[str, ...]] = ()
    """Arguments of the constructor besides `epsilon`."""
    switched_by_training: ClassVar[tuple[str, ...]] = ("enabled",)
    """Attributes that a training sets by itself: saving a network does not take them for changed settings."""
    resting: ClassVar[str] = "idle"
    """The phase outside of a step."""
    needs_gradient: ClassVar[bool] = False
    """Whether a first round must give it the gradient of the batch."""
    needs_labels: ClassVar[bool] = False
    """Whether it must be given the class of each sample."""

    def __init__(self, epsilon: float = 0.03) -> None:
        super().__init__()
        self.epsilon = check_epsilon(epsilon)
        self.enabled = True
        self.batch = Batch(self.resting)
        self.reset()

    @property
    def phase(self) -> str:
        """The current phase, one of PHASES."""
        return self.batch.phase

    def enter(self, phase: str) -> None:
        """Enter a phase. Entering "record" and leaving "perturb" drop the stored gradient.

        Args:
            phase: One of PHASES.

        Raises:
            LayerError: The phase is unknown.
        """
        if phase not in PHASES:
            raise LayerError(f"phase={phase!r} is not known; {', '.join(map(repr, PHASES))} are")
        batch = self.batch
        if phase == "record" or (batch.phase == "perturb" and phase != "perturb"):
            batch.forget_gradient()
        batch.phase = phase

    def set_labels(self, labels: Tensor) -> None:
        """Give the layer the class of each sample of the next batch, if it `needs_labels`.

        Args:
            labels: (N,) integers on any device.

        Raises:
            LayerError: The layer needs no labels, or they are invalid.
        """
        raise LayerError(f"set_labels belongs to source='canl'; source={self.source!r} asks for no classes")

    def set_gradient(self, gradient: Tensor | None) -> None:
        """Give the layer the gradient of the first round, if it `needs_gradient`.

        Args:
            gradient: dJ/dh, (N, ...).

        Raises:
            LayerError: The layer needs no gradient, or it has the wrong shape.
        """
        raise LayerError(
            f"set_gradient belongs to source='anl'; source={self.source!r} finds its own gradients"
        )

    def begin(self, shard: Shard | None) -> None:
        """Begin a training step. A collective call, as `share` is.

        Args:
            shard: Which samples of the batch this process has; None for a single process.
        """
        self.share()
        if self.shard is not shard:  # setting an attribute of a module is slow
            self.shard = shard

    def end(self) -> None:
        """End a step; call it after an error too."""
        self.enter(self.resting)
        self.clear()

    def clear(self) -> None:
        """Drop what belongs to one batch: gradient, labels, and random draws."""
        self.batch.clear()

    def reset(self) -> None:
        """Forget earlier batches."""

    def share(self) -> None:
        """Exchange what the processes' last backward passes found; nothing to do for a single process.

        A collective call: each process makes it, after its backward pass and before the next forward pass.
        """

    def makes_cache(self, device: torch.device, samples: int) -> bool:
        """Say whether a batch creates a cache, which later compiled graphs then take as an input.

        Args:
            device: Device of the batch.
            samples: Its number of samples.

        Returns:
            Whether it does.
        """
        return False

    def get_memory(self) -> dict[str, Tensor]:
        """Return what the layer remembers of earlier batches, for a checkpoint besides the state dict.

        Returns:
            Tensors by name.
        """
        return {}

    def set_memory(self, memory: dict[str, Tensor]) -> None:
        """Restore what `get_memory` returned.

        Args:
            memory: Tensors by name.
        """

    def forward(self, h: Tensor) -> Tensor:
        """Return `h`, or `h` with noise, depending on mode and phase.

        Args:
            h: (N, ...).

        Returns:
            A tensor of the shape and dtype of `h`.
        """
        if isinstance(h, Proxy):
            return called(self, h)
        phase = self.batch.phase
        if not (self.training and self.enabled) or phase == "idle" or h.numel() == 0:
            return h
        return self.record(h) if phase == "record" else self.perturb(h)

    def record(self, h: Tensor) -> Tensor:
        """Return the output in phase "record".

        Args:
            h: (N, ...).

        Returns:
            A tensor equal to `h`.
        """
        return h

    def perturb(self, h: Tensor) -> Tensor:
        """Return the output in phase "perturb".

        Args:
            h: (N, ...).

        Returns:
            `h` with noise.
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon:g}" + ("" if self.enabled else ", disabled")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "batch": Batch(self.batch.phase)}
