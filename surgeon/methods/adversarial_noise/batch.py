"""Where a noise layer is in a training step, and what it holds for the step's batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import GradientEdge

PHASES = ("idle", "record", "perturb")


@dataclass(eq=False)
class Batch:
    """A plain object, whose attributes torch does not look up among parameters and modules. N: this process's samples.

    phase: one of PHASES.
    recorded: where a first round found the activations, as torch.autograd.grad takes it. like: a tensor of their shape, dtype
    and device, without memory. gradient: dJ/dh (N, ...) by that round.
    magnitude: r of eq. 2, (N,), or (1,) for the whole batch.
    labels: the class of each sample, (N,). everyone: the labels of all processes' samples. rank: a permutation of all those
    samples; of a class, the sample of highest rank gives the gradient that is cached. speaking: that sample's index for each
    class, (classes,), -1 where there is none, once found. classes: their number, where `speaking` may be found for many layers
    at once; else 0. cache_input: the cache as an input of a compiled graph, for one forward pass.
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
