"""The loss of a training step, sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.models.logits import named, sum_of_probabilities, tell_of_sigmoid
from surgeon.training.labels import Highest

AUXILIARY = 0.3
"""Weight of the outputs after the first, as Szegedy et al. 2015 weigh theirs."""


@dataclass(frozen=True)
class Objective:
    """Cross-entropy of each sample, of the main output plus AUXILIARY times that of each further output.

    Args:
        smoothing: Label smoothing for class indices.
        beta: For TRADES (Zhang et al. 2019, eq. 5): the first half of the outputs is of clean images, the
            second of the same images attacked, and β · KL(clean ‖ attacked) is added. None for no such term.
        highest: The highest label of the data, or of the step's batch, known beforehand so that nothing has to read it
            from a GPU; None for unknown.
        mart: Whether the two halves have MART's loss instead (Wang et al. 2020, eq. 11): `boosted` of the attacked
            images plus β · KL(clean ‖ attacked) · (1 − p), p the probability of the true class on the clean image.
    """

    smoothing: float = 0.0
    beta: float | None = None
    highest: Highest | None = None
    mart: bool = False

    def __call__(self, output: Any, target: Tensor) -> Tensor:
        """Losses (n,) for target (n,) class indices or (n, classes) soft labels; with beta for 2n outputs."""
        outputs = outputs_of(output)
        self.check(outputs[0].shape[1])
        return sum(
            (self._losses(o, target) * (AUXILIARY if i else 1) for i, o in enumerate(outputs)),
            torch.zeros((), device=target.device),
        )

    def check(self, classes: int) -> None:
        """Raise DataError for a label outside the outputs of a network of so many."""
        if self.highest is not None:
            self.highest.demand("train", classes)

    def _losses(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.beta is None:
            return self._entropy(logits, target)
        clean, attacked = logits.chunk(2)
        if self.mart:
            true = clean.log_softmax(1).gather(1, target[:, None]).squeeze(1)
            return boosted(attacked, target) - self.beta * divergence(attacked, clean) * true.expm1()
        return self._entropy(clean, target) + self.beta * divergence(attacked, clean)

    def _entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        smoothing = 0.0 if target.is_floating_point() else self.smoothing
        return nn.functional.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Compute KL(softmax(reference) ‖ softmax(logits)) of each sample.

    Args:
        logits: (n, classes).
        reference: (n, classes).

    Returns:
        (n,).
    """
    log_p, log_q = reference.log_softmax(1), logits.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def boosted(logits: Tensor, target: Tensor) -> Tensor:
    """Compute MART's boosted cross-entropy, −log p_y − log(1 − max p_k over the classes k other than y).

    Here: the second term is summed from the logits of the other classes, and has no bound; the authors' code adds
    1e-4 to 1 − p_k.

    Args:
        logits: (n, classes), at least two classes.
        target: (n,) class indices y.

    Returns:
        (n,).
    """
    log_p, true = logits.log_softmax(1), target[:, None]
    rival = log_p.detach().scatter(1, true, -torch.inf).argmax(1, keepdim=True)
    others = log_p.scatter(1, rival, -torch.inf).logsumexp(1)
    return -log_p.gather(1, true).squeeze(1) - others


def outputs_of(output: Any) -> list[Tensor]:
    """Return all logits of a network's output.

    Args:
        output: One tensor, or several in a tuple, list or mapping.

    Returns:
        Logits (n, classes), the main output first: the one that is called `logits` or `out`, or else the first.
        Further ones have its shape; what has another beside logits that are named is not logits, and left out.

    Raises:
        DataError: There is no tensor in the output, one that is not named, of another shape than the first, or one that
            is no (n, classes).
    """
    outputs = _tensors_of(output)
    if (main := outputs[0]).dim() != 2 or not main.is_floating_point():
        raise DataError(
            f"the model gives {str(main.dtype).removeprefix('torch.')} of {tuple(main.shape)} for a batch of images; "
            "it must give logits, floats of (N, classes)"
        )
    return outputs


def check_logits(output: Any) -> None:
    """Check that a network's main output is no probabilities, whose cross-entropy would hardly move.

    Args:
        output: What the network said of a batch.

    Raises:
        DataError: Each row of it is not negative and sums to 1, or all of them to one other number.

    Warns:
        UserWarning: All of it lies between 0 and 1, as behind a sigmoid.
    """
    main = outputs_of(output)[0].detach()
    if main.shape[1] > 1 and (total := sum_of_probabilities(main)):
        raise DataError(
            f"the model gives probabilities (not negative, sum {total}), and the loss takes a softmax of what it "
            "gives: take the softmax off to train; an evaluation takes a network with one where it is told so"
        )
    tell_of_sigmoid(main)


def _tensors_of(output: Any) -> list[Tensor]:
    """Return the tensors of an output that are trained on, the main one first."""
    if isinstance(output, Tensor):
        return [output]
    several = list(output.values()) if hasattr(output, "values") else list(output)
    tensors = [o for o in several if isinstance(o, Tensor)]
    if not tensors:
        raise DataError(
            f"the model gives a {type(output).__name__} without a tensor; it must give its logits"
        )
    main = named(output)
    if main is not None:
        at = next(i for i, t in enumerate(tensors) if t is main)
        return [main, *(t for t in (*tensors[:at], *tensors[at + 1 :]) if t.shape == main.shape)]
    if other := [t for t in tensors if t.shape != tensors[0].shape]:
        raise DataError(
            f"the model gives outputs of {tuple(tensors[0].shape)} and {tuple(other[0].shape)}, and each of them would "
            "be trained on as logits of the classes: wrap it in a module that gives its logits alone, such as "
            "def forward(self, x): return self.model(x)[0]"
        )
    return tensors
