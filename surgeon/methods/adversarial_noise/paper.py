"""The evaluation of the ANL paper: Table 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surgeon.results.paper import Paper
from surgeon.results.threat import Attack

DELTAS = (0, 2, 4, 6, 8)
"""Sizes in 255ths."""


def tables(sources: Sequence[str], seed: int) -> list[Attack]:
    """Return the paper's attacks, Table 4: FGSM at δ of 255.

    Args:
        sources: Not used: the paper transfers no attacks.
        seed: Seed of the attacks.

    Returns:
        The attacks.
    """
    more: dict[str, Any] = {"seed": seed, "cascade": False, "group": "paper"}
    return [Attack(name="fgsm", kind="fgsm", eps=d / 255, **more) for d in DELTAS]


PAPER = Paper("anl", "linf", 8 / 255, tables)
