"""The evaluation of the defective-neurons paper: transferred and white-box attacks of Linf 16/255."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surgeon.results.paper import Paper
from surgeon.results.threat import Attack


def tables(sources: Sequence[str], seed: int) -> list[Attack]:
    """Return the paper's attacks: L∞ 16/255, from each source and white-box: FGSM, PGD, MI-FGSM, CW.

    They run on images that the model classifies correctly. PGD on a source takes all its steps, as in the
    paper: one that stops at the source's decision boundary transfers less.

    Args:
        sources: Networks that attacks are transferred from.
        seed: Seed of the attacks.

    Returns:
        The attacks.
    """
    own: dict[str, Any] = {"eps": 16 / 255, "seed": seed, "cascade": False, "group": "paper"}
    iterated: dict[str, Any] = {"steps": 20, "step_size": 1 / 255, **own}
    return [
        attack
        for source in (*sources, None)
        for attack in (
            Attack(name="fgsm", kind="fgsm", source=source, **own),
            Attack(
                name="pgd-20",
                kind="own-pgd",
                random_start=False,
                early_stop=source is None,
                source=source,
                **iterated,
            ),
            Attack(name="mi-fgsm", kind="mi-fgsm", random_start=False, source=source, **iterated),
            Attack(name="cw", kind="cw", norm="l2", steps=50, source=source, **own | {"eps": None}),
        )
    ]


PAPER = Paper("defective", "linf", 16 / 255, tables)
