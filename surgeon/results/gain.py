"""What a surgery adds under an attacker who knows it: the difference to the uncut network. No torch here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from surgeon.numerals import percent
from surgeon.results.statistics import Paired, Share, mcnemar, wilson
from surgeon.results.threat import Attack, Norm, Threat
from surgeon.results.verdict import Outcome, standing

UNCUT, SURROGATES = "the uncut network", "surrogates"
"""What networks made from the record are called: as it was before the cut, and with surrogates of the layers."""
GRADIENT = " (gradient)"
"""End of the name of a network with the attacked network's values: only its gradients are another's."""
_BLIND = ("fab", "square")
"""Attacks that the uncut network is spared: they are slow, and its figure then is an upper bound."""


class Tried(BaseModel):
    """A network made from the record, tried on a few images.

    source: Its name. share: The attacked network's images that stood.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    share: Share


class Gain(BaseModel):
    """What the surgery adds under the attacker who knows it.

    Examples:
        >>> from surgeon.evaluation import read_assessment
        >>> read_assessment("runs/kap/evaluation").gain.text  # doctest: +SKIP
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tried: tuple[Tried, ...] = ()
    chosen: str | None = Field(default=None, description="the source that was attacked at full strength")
    itself: Share = Field(description="standing under attacks on the network itself")
    worst: Share = Field(description="standing under all attacks, those from the record included")
    uncut_clean: Share | None = Field(default=None, description="of the network before the surgery")
    uncut: Share | None = Field(
        default=None,
        description="standing of the network before the surgery, under the same gradient attacks",
    )
    difference: Paired | None = Field(default=None, description="`worst` less `uncut`, image by image")

    @property
    def text(self) -> str:
        """The first sentence of a surgery's page."""
        parts = [f"attacked by itself the cut network stands at {percent(self.itself.value)}"]
        if self.chosen:
            parts.append(f"the attacker who knows the cut leaves {percent(self.worst.value)}")
        if self.uncut is None or self.difference is None:
            return ", ".join(parts)
        low, high, points = (
            100 * v for v in (self.difference.low, self.difference.high, self.difference.difference)
        )
        return (
            f"{', '.join(parts)}, the uncut network has {percent(self.uncut.value)}: "
            f"the surgery adds {points:+.1f} points [{low:+.1f}, {high:+.1f}]"
        ).replace("-", "\N{MINUS SIGN}")

    @property
    def warning(self) -> str:
        """Say that what the surgery seems to add is not there under the attacker who knows it; "" otherwise."""
        if self.uncut is None or not self.itself.k > self.uncut.k >= self.worst.k:
            return ""
        return (
            f"attacked by itself the cut network seems {percent(self.itself.value - self.uncut.value)} better than the "
            "uncut one; the attacker who knows the cut leaves nothing of it: the surgery hides gradients"
        )


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
    chosen = [a for a in attacks if a.threat == main and a.source is None]
    return [a for a in chosen if a.kind not in _BLIND] or chosen


def strongest(outcome: Outcome, sources: Collection[str]) -> tuple[Tried, ...]:
    """Sort an attacker's networks by what they did to a few images, the strongest first.

    Args:
        outcome: The verdicts of `pilots`.
        sources: The networks, of which the earlier is taken where two did the same.
    """
    clean = [v for v in outcome.verdicts if v.attack == "none"]
    right = {v.example for v in clean if not v.success}
    turned = {s: {v.example for v in outcome.verdicts if v.source == s and v.success} for s in sources}
    found = [Tried(source=s, share=wilson(len(right - turned[s]), len(clean))) for s in sources]
    return tuple(sorted(found, key=lambda t: t.share.k))


def gained(outcome: Outcome, uncut: Outcome | None, main: Threat | None, tried: tuple[Tried, ...]) -> Gain:
    """Compare a cut network with the network before the surgery, under the attacker who knows the cut.

    Args:
        outcome: The cut network's verdicts.
        uncut: The verdicts of the network before the surgery on the same images; None if it cannot be had.
        main: The main threat.
        tried: The networks made from the record, the strongest first.
    """
    clean, worst = standing(outcome.rows(), main)
    _, itself = standing([r for r in outcome.rows() if r["source"] is None], main)
    n, found = len(clean), dict[str, Any]()
    if uncut is not None:
        right, stands = standing(uncut.rows(), main)
        found = {
            "uncut_clean": wilson(sum(right.values()), n),
            "uncut": wilson(sum(stands.values()), n),
            "difference": mcnemar([stands[e] for e in clean], [worst[e] for e in clean]),
        }
    return Gain(
        tried=tried,
        chosen=tried[0].source if tried else None,
        itself=wilson(sum(itself.values()), n),
        worst=wilson(sum(worst.values()), n),
        **found,
    )


def _pgd(name: str, source: str, more: dict[str, Any]) -> Attack:
    return Attack(name=name, kind="own-pgd", loss="margin", source=source, early_stop=False, **more)
