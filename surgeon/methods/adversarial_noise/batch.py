"""The phase of a noise layer in a training step, and what the layer holds for the step's batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import GradientEdge

PHASES = ("idle", "record", "perturb")


@dataclass(eq=False)
class Batch:
    """What a noise layer holds for one batch: a plain object, since attributes of modules are slow to set.

    Attributes:
        phase: One of PHASES.
        recorded: The place of the activations in the first round, as torch.autograd.grad accepts it.
        like: A tensor without memory that has the shape, dtype and device of the activations.
        gradient: dJ/dh, (N, ...), from the first round; N counts this process's samples.
        magnitude: r of eq. 2, (N,), or (1,) for the whole batch.
        labels: The class of each sample, (N,).
        everyone: The labels of all processes' samples.
        rank: A random permutation of all samples; in each class, the gradient of the sample with the highest
            rank is cached.
        speaking: (classes,), the index of that sample for each class, -1 without one; None until it is
            computed.
        classes: Number of classes, if `speaking` may be computed for many layers at once; otherwise 0.
        cache_input: The cache as an input of a compiled graph, for one forward pass.
    """

    phase: str = "idle"
    recorded: Tensor | GradientEdge | None = None
    like: Tensor | None = None
    gradient: Tensor | None = None
    magnitude: Tensor | None = None
    labels: Tensor | None = None
    everyone: Tensor | None = None
    rank: Tensor | None = None
    speaking: Tensor | None = None
    classes: int = 0
    cache_input: Tensor | None = None

    def forget_gradient(self) -> None:
        """Drop what the first round found."""
        self.recorded = self.like = self.gradient = None

    def clear(self) -> None:
        """Drop everything but the phase."""
        self.forget_gradient()
        self.magnitude = self.labels = self.everyone = self.rank = self.speaking = self.cache_input = None
        self.classes = 0
