"""The evaluation that a method was published with, as data. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from surgeon.results.threat import Attack, Norm

Tables = Callable[[Sequence[str], int], list[Attack]]
"""Names of models to transfer from, and a seed → the attacks of a paper's tables."""


@dataclass(frozen=True)
class Paper:
    """What the suite `paper` runs for a method.

    name: by which settings name it. norm, eps: its main threat, ε in units of [0, 1] pixels. tables: its attacks. sizes:
    further threats at which the standard attacks run too.
    """

    name: str
    norm: Norm
    eps: float
    tables: Tables
    sizes: tuple[tuple[Norm, float], ...] = ()


def transfers(sources: Sequence[str], norm: Norm, eps: float, **more: Any) -> list[Attack]:
    """APGD-CE on each source, of the largest loss: an attack that stops at the source's border transfers less."""
    own = more | {"cascade": False, "early_stop": False, "group": "transfer"}
    return [
        Attack(name="transfer-apgd-ce", kind="apgd", norm=norm, eps=eps, steps=100, source=s, **own)
        for s in sources
    ]
