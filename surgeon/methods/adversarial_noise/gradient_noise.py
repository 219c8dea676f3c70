"""Noise along a gradient, eq. 4, wherever the gradient comes from: what ANL and CANL share."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise.base import NoiseLayer
from surgeon.methods.adversarial_noise.maths import deviation, draw_magnitude, noise_along
from surgeon.tensors.gpu import sent
from surgeon.tensors.stream_state import stream_at, stream_state

MAGNITUDES = ("drawn", "fixed")


class GradientNoise(NoiseLayer):
    """h' = h + r s(h) g/‖g‖∞ in phase "perturb".

    Here: s(h) is the population standard deviation of the whole batch tensor in the round that adds the
    noise, detached; with `momentum` it is a running mean, started by the first batch. Here: r and the choice
    of samples come from a private stream, drawn when the gradient or the labels arrive. So forward is
    repeatable, and dropout sees the same global stream in both rounds.

    Args:
        epsilon: ε, in standard deviations of the activations; a negative one is the paper's loss-lowering
            control.
        per_sample: Draw one r per sample, instead of one per batch.
        momentum: m in (0, 1], the weight of the current batch in a running s(h); None uses each batch's own.
        seed: Seed of the layer's own random stream; None draws one from torch's global stream.
        deviation: Multiply by s(h), eq. 4. Without it ε is in the units of the activations: the paper's control of
            Fig. 2 and of its section "Validity of the standard deviation".
        magnitude: "drawn" is eq. 2; "fixed" is its mean, r = ε/2, which the paper compares it with in words.

    Raises:
        LayerError: `epsilon` is not finite, `magnitude` is unknown, s(h) is to be a running mean and is not
            used, or `momentum` is outside (0, 1].
    """

    settings: ClassVar[tuple[str, ...]] = ("per_sample", "momentum", "seed", "deviation", "magnitude")
    running_std: Tensor | None
    deviation: bool = True
    magnitude: str = "drawn"

    def __init__(
        self,
        epsilon: float = 0.03,
        *,
        per_sample: bool = True,
        momentum: float | None = None,
        seed: int | None = None,
        deviation: bool = True,
        magnitude: str = "drawn",
    ) -> None:
        super().__init__(epsilon)
        if magnitude not in MAGNITUDES:
            raise LayerError(f"magnitude={magnitude!r} is not known; {', '.join(map(repr, MAGNITUDES))} are")
        if momentum is not None and not deviation:
            raise LayerError(
                f"momentum={momentum} is of the standard deviation s(h), which 'deviation' leaves out"
            )
        if momentum is not None and not 0 < momentum <= 1:
            raise LayerError(
                f"momentum={momentum} is outside (0, 1]; None uses the standard deviation of each batch"
            )
        self.per_sample = per_sample
        self.momentum = momentum
        self.deviation, self.magnitude = deviation, magnitude
        seed = int(torch.randint(2**31, (), device="cpu")) if seed is None else seed
        # On the CPU, so that a seed draws the same on every device.
        self._generator = torch.Generator(device="cpu").manual_seed(seed)

    @property
    def measures_alone(self) -> bool:
        """Whether s(h) is used, and is that of this process's batch alone."""
        return self.shard is None and self.momentum is None and self.deviation

    def draw(self, n: int) -> Tensor:
        """Draw the magnitudes r of this process's samples from the layer's own stream.

        Args:
            n: Number of samples.

        Returns:
            (n,), or (1,) unless `per_sample`.
        """
        if self.magnitude == "fixed":
            return torch.full((n if self.per_sample else 1,), self.epsilon / 2)
        shard = self.shard if self.per_sample else None
        if shard is None:
            return draw_magnitude(n if self.per_sample else 1, self.epsilon, self._generator)
        # Drawn for the whole batch, of which each process takes its part: no two use the same numbers.
        return shard.take(draw_magnitude(shard.total, self.epsilon, self._generator), n)

    def reset(self) -> None:
        super().reset()
        self.running_std = None

    def get_memory(self) -> dict[str, Tensor]:
        running = {} if self.running_std is None else {"running_std": self.running_std}
        return {**super().get_memory(), **running, "random": self._generator.get_state()}

    def set_memory(self, memory: dict[str, Tensor]) -> None:
        """Restore the running s(h) and the random stream.

        Args:
            memory: What `get_memory` returned.
        """
        super().set_memory(memory)
        self.running_std = memory.get("running_std")
        self._generator.set_state(memory["random"])

    def _eta(self, h: Tensor, gradient: Tensor, magnitude: Tensor) -> Tensor:
        """Return the noise of eq. 4."""
        # Half precision is too coarse for the statistics of a batch.
        wide = torch.promote_types(h.dtype, torch.float32)
        r = sent(magnitude, h.device).to(wide)
        return noise_along(gradient.to(h.device, h.dtype), self._std(h.detach().to(wide)), r)

    def _std(self, h: Tensor) -> Tensor:
        """Return s(h), and update the running one; 1 where it is left out."""
        if not self.deviation:
            return h.new_ones(())
        std = deviation(h) if self.shard is None else self.shard.std(h)
        if self.momentum is None:
            return std
        old = std if self.running_std is None else self.running_std.to(std)
        self.running_std = torch.lerp(old, std, self.momentum)
        return self.running_std

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_generator": stream_state(self._generator)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_generator": stream_at(state["_generator"])})


def added(h: Tensor, eta: Tensor) -> Tensor:
    """Return h + eta, in the memory of `eta` if its layout and dtype are those of `h`.

    Args:
        h: (N, ...).
        eta: (N, ...), which may be overwritten.

    Returns:
        (N, ...).
    """
    return eta.add_(h) if eta.stride() == h.stride() and eta.dtype == h.dtype else h + eta
