"""The evaluation of the KAP paper: Tables A1 and A3, Fig. 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surgeon.results.paper import Paper, transfers
from surgeon.results.threat import Attack

EPS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""L2 sizes of Fig. 5."""


def tables(sources: Sequence[str], seed: int) -> list[Attack]:
    """Return the paper's attacks: Table A1, and PGD at each ε of Fig. 5.

    Table A1: L2, ε = 1, PGD with 100 steps of 4/255, and Square with 5000 queries.

    Table A3 is added if there are sources. Fig. 5 itself uses AutoAttack: `PAPER.sizes` has the standard
    attacks run at each ε.

    Args:
        sources: Networks that attacks are transferred from.
        seed: Seed of the attacks.

    Returns:
        The attacks.
    """
    more: dict[str, Any] = {"norm": "l2", "seed": seed, "cascade": False, "group": "paper"}
    attacks = [
        Attack(name="pgd-100", kind="own-pgd", eps=eps, steps=100, step_size=4 / 255, **more) for eps in EPS
    ]
    attacks.append(Attack(name="square", kind="square", loss="margin", eps=1.0, steps=5000, **more))
    return attacks + transfers(sources, "l2", 1.0, seed=seed)


PAPER = Paper("kap", "l2", 1.0, tables, tuple(("l2", eps) for eps in EPS))
