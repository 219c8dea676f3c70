"""Networks that an attacker makes from a surgery's record, to take gradients from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from surgeon.edits import Plan
from surgeon.errors import SurgeonError
from surgeon.evaluation.adaptive.stand_in import through
from surgeon.evaluation.adaptive.surrogates import Given, Yielding
from surgeon.evaluation.attacks.gradients import input_gradient
from surgeon.evaluation.engine.scoring import device_of, spread
from surgeon.evaluation.engine.subject import of_pixels
from surgeon.models.facts import normalization_of
from surgeon.models.pixels import Normalized, logits_of
from surgeon.models.quiet import held_still
from surgeon.results.from_record import GRADIENT, SURROGATES, UNCUT
from surgeon.surgery.folding import uncut_network
from surgeon.verification import relative, tolerance_of

MOST = 8
"""Number of sources that are tried; the first are those of all operations together."""
_SAME_GRADIENT = 0.05
"""Relative difference up to which gradients count as equal: rounding at the kinks of activations stays below it."""


class Known(NamedTuple):
    """What a record gives to an attacker.

    sources: Networks of [0, 1] pixels by the names that reports use. Their values are those of the attacked
    network where the name ends in `GRADIENT`. uncut: The network before the surgery, of [0, 1] pixels; None if
    it cannot be had. notes: What could not be made, or was left out.
    """

    sources: dict[str, nn.Module]
    uncut: Normalized | None
    notes: tuple[str, ...]


class Borrowed(nn.Module):
    """The values of one network with the gradients of another; both take [0, 1] pixels."""

    def __init__(self, values: nn.Module, gradients: nn.Module) -> None:
        super().__init__()
        self.values, self.gradients = values, gradients

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits (N, classes) of the first; their gradient is the second's."""
        with torch.no_grad():
            value: Tensor = self.values(x)
        return through(value, self.gradients(x))


def known_from(
    network: nn.Module, record: Plan, subject: Normalized, images: Tensor, *, probabilities: bool = False
) -> Known:
    """Make an attacker's networks from the record of a surgery.

    Args:
        network: The rewritten network.
        record: The record of its surgery.
        subject: The network that is attacked, of [0, 1] pixels.
        images: (N, C, H, W) in [0, 1]; a few suffice to see which networks compute the same.
        probabilities: Whether the network ends in a softmax.

    Returns:
        The networks. Those that compute what the attacked network computes, gradients included, are left out.
    """
    notes, networks = [], dict[str, nn.Module]()
    uncut: Normalized | None = None
    few = images[spread(16, len(images))].to(device_of(subject))
    try:
        uncut = of_pixels(uncut_network(network), probabilities=probabilities)
        other_values = _differs(uncut, subject, few)
        if other_values or _leads_elsewhere(uncut, subject, few):
            networks[UNCUT + GRADIENT] = Borrowed(subject, uncut)
        if other_values:
            networks[UNCUT] = uncut
    except SurgeonError as error:
        notes.append(f"no attack was made on the network before the surgery, which cannot be had: {error}")
    yielding, (mean, std) = Yielding(network, record), normalization_of(network) or (None, None)
    every = yielding.operations
    alone = [(o,) for o in every] if len(every) > 1 else []
    for which in [every, *alone] if every else []:
        name = SURROGATES if which is every else f"{SURROGATES} of {which[0]}"
        both, back = (
            Normalized(Given(yielding, which, passes), mean, std, probabilities=probabilities)
            for passes in ("both", "backward")
        )
        other_values = _differs(both, subject, few)
        # A layer's own values with another gradient are what a straight-through surrogate gives.
        if other_values or _leads_elsewhere(back, subject, few):
            networks[name + GRADIENT] = back
        if other_values and (uncut is None or _differs(both, uncut, few)):
            networks[name] = both
    notes += yielding.ignored()
    if len(networks) > MOST:
        notes.append(f"of {len(networks)} networks made from the record the first {MOST} were attacked")
        networks = dict(list(networks.items())[:MOST])
    return Known(networks, uncut, tuple(notes))


def _leads_elsewhere(one: nn.Module, other: nn.Module, x: Tensor) -> bool:
    """Say whether a network of another one's values has other gradients."""
    with held_still(one), held_still(other):
        with torch.no_grad():
            labels = logits_of(other(x)).argmax(1)
        first, second = (input_gradient(model, x, labels) for model in (one, other))
    return first is not None and (second is None or not relative(first, second) <= _SAME_GRADIENT)


def _differs(one: nn.Module, other: nn.Module, x: Tensor) -> bool:
    """Say whether two networks give other logits."""
    with held_still(one), held_still(other), torch.no_grad():
        first, second = logits_of(one(x)), logits_of(other(x))
        return first.shape != second.shape or not relative(first, second) <= tolerance_of(one)
