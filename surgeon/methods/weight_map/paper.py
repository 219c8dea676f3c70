"""The evaluation of the weight-map paper: test error under FGSM and uniform noise, each over its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surgeon.results.paper import Paper
from surgeon.results.threat import UNIFORM, Attack

EPS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


def tables(sources: Sequence[str], seed: int) -> list[Attack]:
    """Return the paper's attacks: FGSM, and uniform noise U(0, u) with images clipped to [0, 1].

    Args:
        sources: Not used: the paper transfers no attacks.
        seed: Seed of the attacks.

    Returns:
        The attacks.
    """
    more: dict[str, Any] = {"seed": seed, "cascade": False, "group": "paper"}
    attacks = [Attack(name="fgsm", kind="fgsm", eps=e, **more) for e in EPS]
    return attacks + [Attack(name="uniform-noise", kind="uniform", eps=u, **more) for u in UNIFORM]


PAPER = Paper("weight-map", "linf", 8 / 255, tables)
"""The paper sweeps ε without a main value; 8/255 is the usual one."""
