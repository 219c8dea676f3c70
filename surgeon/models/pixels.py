"""Normalise [0, 1] pixels as a network takes them, or wrap the network so that it does, for attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from surgeon.errors import CalibrationWarning, DataError
from surgeon.host import own_state
from surgeon.images import check_images
from surgeon.models.facts import normalization_of
from surgeon.models.handed_on import unsaid
from surgeon.models.logits import named
from surgeon.models.normalisation import check_normalization
from surgeon.warned import warn


class Normalized(nn.Module):
    """`model` applied to (x − mean) / std, for x (N, C, H, W) float32 in [0, 1].

    Without mean and std the images are passed on unchanged. Where the model returns several outputs, the
    logits are the entry `logits` or `out`, or else the first of a tuple or list. To take another one, wrap the model in
    a module whose `forward` returns that one alone.

    Args:
        model: the network.
        mean: one number per channel, in units of [0, 1] pixels; given together with std.
        std: one number per channel, positive.
        probabilities: the model ends in a softmax; its logarithm is returned, since attacks need logits.

    Attributes:
        passed_over: a sentence on the outputs that are not looked at, once the model has run; empty where it gives one
            or names its logits.

    Raises:
        DataError: mean and std are not valid; or, in the forward pass, images of another type or range (the
            message says which side is likely wrong) or an output without logits, or with two that may be them.

    Examples:
        >>> import torch
        >>> from surgeon.models.pixels import Normalized
        >>> network = Normalized(torch.nn.Flatten(), mean=[0.5], std=[0.25])
        >>> network(torch.full((1, 1, 1, 2), 0.75))
        tensor([[1., 1.]])
        >>> network.normalize(torch.zeros(1, 1, 1, 1)).item(), network.unchecked(torch.full((1, 1, 1, 1), 1.5)).item()
        (-2.0, 4.0)
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
            check_normalization(mean, std)
        self.model, self.probabilities, self.passed_over = model, probabilities, ""
        self.mean: Tensor | None
        self.std: Tensor | None
        at = next((p.device for p in model.parameters()), torch.device("cpu"))
        with own_state():
            for name, values in (("mean", mean), ("std", std)):
                value = None if values is None else _as_channels(values).to(at)
                self.register_buffer(name, value, persistent=False)
        self._given = {"mean": mean, "std": std}

    @property
    def given(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """(mean, std) that it was made with; None where images are passed on unchanged."""
        mean, std = self._given["mean"], self._given["std"]
        return None if mean is None or std is None else (mean, std)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Convert tensors as usual, then set mean and std anew: no state dict can restore them."""
        super()._apply(fn, recurse)
        for name, values in self._given.items():
            there = self._buffers.get(name)
            if there is not None and values is not None and not there.is_meta:
                self._buffers[name] = _as_channels(values).to(there)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, C, H, W), float32 in [0, 1].

        Returns:
            (N, classes), logits.

        Raises:
            DataError: x has another type, shape or range.
        """
        check_images(x, None if self.mean is None else self.mean.shape[1])
        return self.unchecked(x)

    def unchecked(self, x: Tensor) -> Tensor:
        """Compute the logits without checking the range of x, for noise that leaves [0, 1].

        Args:
            x: (N, C, H, W), float32.

        Returns:
            (N, classes), logits.

        Raises:
            DataError: The model was said to give probabilities, and gives something else.
        """
        given = self.normalize(x)
        # Code may write into its input, and these are the caller's images.
        answer = self.model(given.clone() if given is x else given)
        output = logits_of(answer)
        if not isinstance(answer, Tensor) and not self.passed_over:
            self.passed_over = _passed_over(answer)
        if not self.probabilities:
            return output
        if float(output.detach().min()) < 0 or float((output.detach().sum(1) - 1).abs().max()) > 1e-2:
            raise DataError(
                "the model was said to give probabilities, and gives logits: leave --probabilities out"
            )
        return output.clamp_min(1e-30).log()

    def normalize(self, x: Tensor) -> Tensor:
        """Normalise pixels as the model takes them.

        Args:
            x: (N, C, H, W), pixels in [0, 1].

        Returns:
            (N, C, H, W), (x − mean) / std channel by channel; x itself where no normalisation is known.
        """
        return x if self.mean is None or self.std is None else (x - self.mean) / self.std


def normalized(images: Tensor, model: nn.Module) -> Tensor:
    """Normalise images as a network's configuration states.

    Args:
        images: (N, C, H, W), pixels in [0, 1].
        model: the network.

    Returns:
        (images − mean) / std; the images themselves where the configuration states no normalisation.

    Warns:
        CalibrationWarning: the network is a module of other code that states none, and hands images on as they are to
            a network that does; or it is compiled by TorchScript, which keeps no configuration.

    Examples:
        >>> import surgeon, torch
        >>> network = surgeon.create_model("resnet10t")
        >>> result = surgeon.models.normalized(torch.full((1, 3, 1, 1), 0.5), network)
        >>> [round(v, 3) for v in result.flatten().tolist()]
        [0.066, 0.196, 0.418]
    """
    given = normalization_of(model)
    if given is None:
        if said := unsaid(model, images):
            warn(said, CalibrationWarning)
        return images
    mean, std = (torch.tensor(v, dtype=torch.float32, device=images.device).view(1, -1, 1, 1) for v in given)
    return (images - mean) / std


def _as_channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu").view(1, -1, 1, 1)


def logits_of(output: object) -> Tensor:
    """Find the logits in what a model returns.

    Args:
        output: a tensor; something with an entry `logits` or `out`; or a tuple or list, whose first entry is taken.

    Returns:
        The logits, (N, classes).

    Raises:
        DataError: there is no such tensor, or a tuple or list has a second one of the same shape.
    """
    if isinstance(output, Tensor):
        return output
    if (logits := named(output)) is not None:
        return logits
    first = output[0] if isinstance(output, (tuple, list)) and output else None
    if not isinstance(output, (tuple, list)) or not isinstance(first, Tensor):
        keys = f" with the keys {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        raise DataError(
            f"the model gives a {type(output).__name__}{keys}; wrap it so that it gives its logits (N, classes)"
        )
    alike = sum(isinstance(o, Tensor) and o.shape == first.shape for o in output)
    if alike > 1:
        raise DataError(
            f"the model gives a {type(output).__name__} with {alike} outputs of the shape {_shape(first)}, and nothing "
            f"says which of them are the logits; {_WRAP}"
        )
    return first


_WRAP = "wrap it in a module that gives the one that you mean: def forward(self, x): return self.model(x)[0], or [1]"


def _passed_over(output: object) -> str:
    """Say which output is taken for the logits, where there are several and none is named; else an empty text."""
    if not isinstance(output, (tuple, list)) or len(output) < 2 or named(output) is not None:
        return ""
    rest = ", ".join(_shape(o) if isinstance(o, Tensor) else f"a {type(o).__name__}" for o in output[1:])
    return (
        f"the model gives a {type(output).__name__} of {len(output)} outputs: the first, {_shape(output[0])}, is taken "
        f"for its logits, and the rest ({rest}) is not looked at; for another one {_WRAP}"
    )


def _shape(value: Tensor) -> str:
    """A shape as people write it, `(N, 10)`: the number of images is that of the batch."""
    return f"({', '.join(['N', *map(str, value.shape[1:])])})"
