"""The evaluation of DropChannel-Mean: FGSM of Linf 1, 2 and 4 of 255."""

from __future__ import annotations

from collections.abc import Sequence

from surgeon.results.paper import Paper
from surgeon.results.threat import Attack


def tables(sources: Sequence[str], seed: int) -> list[Attack]:
    """Return FGSM at each size, on the model itself.

    Args:
        sources: Not used.
        seed: Seed of the attacks.

    Returns:
        The attacks.
    """
    return [
        Attack(name="fgsm", kind="fgsm", eps=eps / 255, seed=seed, cascade=False, group="paper")
        for eps in (1, 2, 4)
    ]


PAPER = Paper("channel-mean", "linf", 4 / 255, tables)
