"""The model that is attacked: it takes pixels in [0, 1], and normalisation is inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.host import own_state
from surgeon.images import check_images


class Normalized(nn.Module):
    """`model` behind (x − mean) / std, for x (N, C, H, W) float32 in [0, 1]; mean and std one number a channel.

    Without mean and std the images go to the model as they are. Of a model that gives several outputs, the logits are
    the first of a tuple or list, or what a mapping calls `logits` or `out`. probabilities: the model ends in a softmax,
    which the logarithm takes off again: attacks need logits.

    Raises DataError for images of another kind or range, saying which side is likely wrong, and for an output
    without logits to be found in it.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        probabilities: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise DataError(f"the model is a {type(model).__name__}; give a torch.nn.Module")
        if (mean is None) != (std is None):
            raise DataError("mean and std belong together; give both or neither")
        if mean is not None and std is not None:
            with own_state():
                _check_normalisation(mean, std)
        self.model, self.probabilities = model, probabilities
        self.mean: Tensor | None
        self.std: Tensor | None
        at = next((p.device for p in model.parameters()), torch.device("cpu"))
        with own_state():
            for name, values in (("mean", mean), ("std", std)):
                value = None if values is None else _as_channels(values).to(at)
                self.register_buffer(name, value, persistent=False)
        self._given = {"mean": mean, "std": std}

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """What moves or empties the tensors leaves mean and std as they are: no state dict has them."""
        super()._apply(fn, recurse)
        for name, values in self._given.items():
            there = self._buffers.get(name)
            if there is not None and values is not None and not there.is_meta:
                self._buffers[name] = _as_channels(values).to(there)
        return self

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, None if self.mean is None else self.mean.shape[1])
        return self.unchecked(x)

    def unchecked(self, x: Tensor) -> Tensor:
        """The logits of pixels that noise took out of [0, 1]."""
        output = logits_of(self.model(self.normalize(x)))
        if not self.probabilities:
            return output
        if float(output.detach().min()) < 0 or float((output.detach().sum(1) - 1).abs().max()) > 1e-2:
            raise DataError(
                "the model was said to give probabilities, and gives logits: leave --probabilities out"
            )
        return output.clamp_min(1e-30).log()

    def normalize(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) as the model takes them."""
        return x if self.mean is None or self.std is None else (x - self.mean) / self.std


def _as_channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu").view(1, -1, 1, 1)


def _check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    numbers = torch.tensor([*mean, *std], dtype=torch.float64)
    if len(mean) != len(std) or not bool(numbers.isfinite().all()) or min(std, default=0) <= 0:
        raise DataError(
            f"mean={tuple(mean)} and std={tuple(std)} must be finite, one number a channel, std above 0"
        )


def logits_of(output: object) -> Tensor:
    """The logits in what a model gives. Raises DataError where there are none to be found."""
    first = output
    if isinstance(output, Mapping):
        first = next((output[key] for key in ("logits", "out") if key in output), output)
    elif isinstance(output, (tuple, list)) and output:
        first = output[0]
    if not isinstance(first, Tensor):
        keys = f" with the keys {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        raise DataError(
            f"the model gives a {type(output).__name__}{keys}; wrap it so that it gives its logits (N, classes)"
        )
    return first
