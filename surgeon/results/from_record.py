"""Attacks that an attacker who has the record of a surgery makes, as data. No torch here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from surgeon.results.kinds import Norm
from surgeon.results.threat import Attack, Threat

UNCUT, SURROGATES = "the uncut network", "surrogates"
"""What networks made from the record are called: as it was before the cut, and with surrogates of the layers."""
GRADIENT = " (gradient)"
"""End of the name of a network with the attacked network's values: only its gradients are another's."""
_BLIND = ("fab", "square")
"""Attacks that the uncut network is spared: they are slow, and its figure then is an upper bound."""


def pilots(
    sources: Collection[str], norm: Norm, eps: float, steps: int, seed: int, *, eot: int = 1
) -> list[Attack]:
    """Return the attacks by which the strongest of an attacker's networks is found.

    Args:
        sources: Names of the networks.
        norm: "linf" or "l2".
        eps: Size in [0, 1] pixels.
        steps: Iterations.
        seed: Seed of the attacks.
        eot: Draws of a random model that a gradient is averaged over.

    Returns:
        For each network, PGD on the margin.
    """
    more: dict[str, Any] = {"norm": norm, "eps": eps, "steps": steps, "seed": seed, "eot": eot}
    return [_pgd("pilot", s, more | {"cascade": False, "group": "pilot"}) for s in sources]


def from_record(
    source: str | None, suite: str, norm: Norm, eps: float, steps: int, **more: Any
) -> list[Attack]:
    """Return the attacks at full strength on a network made from the record.

    Args:
        source: Its name; None for no attacks.
        suite: The suite.
        norm: "linf" or "l2".
        eps: Size in [0, 1] pixels.
        steps: Iterations of the suite basic.
        more: Further fields of `Attack`.

    Returns:
        APGD-CE and PGD on the margin; in the suite basic the latter alone. None of them stops at the source's
        own boundary, which is not that of the attacked network.
    """
    if source is None:
        return []
    if suite == "basic":
        return [_pgd("adaptive-pgd", source, more | {"norm": norm, "eps": eps, "steps": steps})]
    strength = 20 if suite == "quick" else 100
    shared = more | {"norm": norm, "eps": eps, "steps": strength}
    return [
        Attack(name="adaptive-apgd-ce", kind="apgd", source=source, early_stop=False, **shared),
        _pgd("adaptive-pgd", source, shared | {"restarts": 1 if suite == "quick" else 5}),
    ]


def on_uncut(attacks: Collection[Attack], main: Threat | None) -> list[Attack]:
    """Return those of a suite's attacks that the network before the surgery is put under.

    Args:
        attacks: The suite's attacks for a network that is not random.
        main: The main threat.
    """
    chosen = [a for a in attacks if main is not None and main.covers(a.threat) and a.source is None]
    return [a for a in chosen if a.kind not in _BLIND] or chosen


def _pgd(name: str, source: str, more: dict[str, Any]) -> Attack:
    return Attack(name=name, kind="own-pgd", loss="margin", source=source, early_stop=False, **more)
