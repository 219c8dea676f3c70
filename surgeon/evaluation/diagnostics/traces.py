"""Indicators of attack failure, from the trace that a search leaves: losses and margins at each iterate.

After Pintor et al. 2022 (Indicators of Attack Failure, arXiv 2106.09947): silent success, incomplete optimisation,
transfer failure and bad initialisation. Its other indicators are checks of `probes`: unavailable gradients
(zero-gradients), unstable predictions (two-passes) and failure without bounds (unbounded).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.evaluation.attacks.pgd import averaged, margin
from surgeon.evaluation.diagnostics.checks import HALF, STRAY, beyond, rare
from surgeon.numerals import percent
from surgeon.results.checked import Check
from surgeon.results.counts import ERROR

LAST = 10
"""Iterates at the end of a search in which its loss should hardly rise any more."""
LATE = 0.1
"""Share of the whole rise of the loss that may come in them; a loss that rises evenly over 50 steps has 0.2 there."""


class Trace:
    """What `pgd` tells at each iterate of one search, by image.

    Args:
        count: Number of images.

    Attributes:
        losses: A tensor (count,) an iterate; NaN for an image whose search had ended before.
        margins: Likewise; above 0 where the iterate is misclassified as the attack sees it.
        flat: (count,) bool, whether the gradient at the start is zero at every pixel.
    """

    def __init__(self, count: int) -> None:
        self.losses: list[Tensor] = []
        self.margins: list[Tensor] = []
        self.flat = torch.zeros(count, dtype=torch.bool)

    def __call__(self, left: Tensor, loss: Tensor, margins: Tensor, gradient: Tensor) -> None:
        if not self.losses:
            self.flat[left.cpu()] = (gradient.flatten(1).abs().amax(1) == 0).cpu()
        for kept, values in ((self.losses, loss), (self.margins, margins)):
            row = torch.full((len(self.flat),), torch.nan)
            row[left.cpu()] = values.detach().float().cpu()
            kept.append(row)

    @property
    def turned(self) -> Tensor:
        """(count,) bool: whether any iterate was misclassified."""
        return (torch.stack(self.margins) > 0).any(0)

    @property
    def late(self) -> Tensor:
        """(count,) the share of the rise of the best loss that came in the last iterates; 0 where it never rose."""
        best = torch.stack(self.losses).nan_to_num(-torch.inf).cummax(0).values
        rise = best[-1] - best[0]
        last = best[-1] - best[-1 - min(LAST, len(best) - 1)]
        return torch.where(rise > 0, last / rise.clamp_min(1e-30), torch.zeros_like(rise))


def seen(model: nn.Module, adversarial: Tensor, labels: Tensor, eot: int) -> Tensor:
    """Look at images as an attack sees them: in passes that record gradients, and on the mean of its draws.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        adversarial: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        eot: Passes that are averaged.

    Returns:
        (N,) bool, whether an image is misclassified.
    """
    _, _, logits = averaged(model, adversarial, labels, "ce", eot, needed=True)
    return (margin(logits, labels) > 0).cpu()


def failures(trace: Trace, given: Tensor, stands: Tensor) -> list[Check]:
    """Make the four checks of a search.

    Args:
        trace: What it told at each iterate.
        given: (N,) bool, whether the image that it gave is misclassified as it sees it itself.
        stands: (N,) bool, whether that image is right when it is scored by a pass of its own.

    Returns:
        The checks.
    """
    n = len(stands)
    return [
        rare(
            "silent-success",
            {"passed over": int((trace.turned & ~given).sum())},
            n,
            share=STRAY,
            what="are turned on the way of an attack and not by what it gives",
            means="it finds images and loses them",
        ),
        _incomplete(trace, ~trace.turned),
        rare(
            "transfer-failure",
            {"otherwise": int((given & stands).sum())},
            n,
            share=STRAY,
            what="are turned in the attack's own passes and stand when they are scored",
            means="the network answers otherwise where gradients are asked for",
        ),
        rare(
            "bad-initialisation",
            {"flat": int((trace.flat & ~(trace.margins[0] > 0)).sum())},
            n,
            share=STRAY,
            what="have no gradient at the random point where an attack begins",
            means="it stands still there",
        ),
    ]


def _incomplete(trace: Trace, standing: Tensor) -> Check:
    """Of the images that stand: whether the loss of most was still on its way when the search ended."""
    left, late = int(standing.sum()), int((trace.late[standing] > LATE).sum())
    steps = len(trace.losses) - 1
    chance = beyond(late, left, HALF)
    return Check(
        code="incomplete-optimisation",
        measured={"still rising": late / len(standing), "stand, of those attacked": left / len(standing)},
        rule=f"of the images that stand {steps} steps, more than half gain more than {percent(LATE)} of the rise of "
        f"their loss in the last {LAST}",
        p=chance,
        failed=chance <= ERROR,
        reason=f"the loss of {late} of the {left} images that stand {steps} steps of PGD rises in the last {LAST}: "
        "the attack had not come to its end",
    )
