"""What all noise layers are: the phases of a training step, and what a step asks a layer for."""

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
    """Adds noise to its input in training; the identity in evaluation and where `enabled` is False.

    Input and output (N, ...). No parameters and no buffers: the state dict is the stock one. A training step has the layer
    `enter` its phases:

    - "idle": the identity.
    - "record": the first of two rounds. A layer that `needs_gradient` notes the place where it is called in `batch.recorded`;
      give the gradient at that place to `set_gradient`. Others are the identity.
    - "perturb": the noise is added. A layer that `needs_labels` must have got them by `set_labels`.

    A step calls `begin`, has it enter phases, and calls `end`, after which the layer is in its `resting` phase. What belongs
    to one batch is in `batch`.

    In phase "perturb" the output is a tensor of its own; in the identity, and in phase "record" where it can, it is the input
    itself, as without the layer. An in-place activation may overwrite it where it might overwrite the input. Copies and pickles
    keep what the layer remembers of earlier batches and its phase, and drop the rest of `batch`.
    """

    source: ClassVar[str]
    """The name by which recipes ask for the layer."""
    settings: ClassVar[tuple[str, ...]] = ()
    """What the constructor takes beside `epsilon`."""
    resting: ClassVar[str] = "idle"
    """The phase outside of a step."""
    needs_gradient: ClassVar[bool] = False
    """Whether a first round must give it the gradient of the batch."""
    needs_labels: ClassVar[bool] = False
    """Whether it must be told the class of each sample."""

    def __init__(self, epsilon: float = 0.03) -> None:
        super().__init__()
        self.epsilon = check_epsilon(epsilon)
        self.enabled = True
        self.batch = Batch(self.resting)
        self.reset()

    @property
    def phase(self) -> str:
        """One of PHASES."""
        return self.batch.phase

    def enter(self, phase: str) -> None:
        """Enter one of PHASES; others raise LayerError. Entering "record" and leaving "perturb" drop the stored gradient."""
        if phase not in PHASES:
            raise LayerError(f"phase={phase!r} is not known; {', '.join(map(repr, PHASES))} are")
        batch = self.batch
        if phase == "record" or (batch.phase == "perturb" and phase != "perturb"):
            batch.forget_gradient()
        batch.phase = phase

    def set_labels(self, labels: Tensor) -> None:
        """Give a layer that `needs_labels` the class of each sample of the next batch, (N,) integers on any device."""
        raise LayerError(f"set_labels belongs to source='canl'; source={self.source!r} asks for no classes")

    def set_gradient(self, gradient: Tensor | None) -> None:
        """Give a layer that `needs_gradient` dJ/dh (N, ...) of the first round; others raise LayerError."""
        raise LayerError(
            f"set_gradient belongs to source='anl'; source={self.source!r} finds its own gradients"
        )

    def begin(self, shard: Shard | None) -> None:
        """Begin a step in which this process's samples are `shard` of the batch. A collective call, as `share`."""
        self.share()
        if self.shard is not shard:  # torch takes its time to set an attribute of a module
            self.shard = shard

    def end(self) -> None:
        """End a step, after an error too."""
        self.enter(self.resting)
        self.clear()

    def clear(self) -> None:
        """Drop what belongs to one batch: gradient, labels, and what was drawn for it."""
        self.batch.clear()

    def reset(self) -> None:
        """Forget earlier batches."""

    def share(self) -> None:
        """Remember what all processes' last backward pass found; of one process there is nothing to do.

        A collective call: each process makes it, after its backward pass and before the next forward one.
        """

    def makes_cache(self, device: torch.device, samples: int) -> bool:
        """Whether a batch of so many samples on that device makes a cache, which later compiled graphs then take as an input."""
        return False

    def get_memory(self) -> dict[str, Tensor]:
        """What the layer remembers of earlier batches, as tensors: for a checkpoint beside the state dict."""
        return {}

    def set_memory(self, memory: dict[str, Tensor]) -> None:
        """Take back what `get_memory` gave."""

    def forward(self, h: Tensor) -> Tensor:
        if isinstance(h, Proxy):
            return called(self, h)
        phase = self.batch.phase
        if not (self.training and self.enabled) or phase == "idle" or h.numel() == 0:
            return h
        return self.record(h) if phase == "record" else self.perturb(h)

    def record(self, h: Tensor) -> Tensor:
        """The output in phase "record"."""
        return h

    def perturb(self, h: Tensor) -> Tensor:
        """The output in phase "perturb"."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon:g}" + ("" if self.enabled else ", disabled")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "batch": Batch(self.batch.phase)}
