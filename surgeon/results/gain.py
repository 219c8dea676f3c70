"""What a surgery adds under an attacker who knows it: the difference to the uncut network. No torch here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from surgeon.numerals import percent, points_with_interval
from surgeon.results.statistics import Paired, Share, mcnemar, wilson
from surgeon.results.threat import Threat
from surgeon.results.verdict import Outcome, standing


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
    clean: Share = Field(description="of the cut network, without an attack")
    uncut_clean: Share | None = Field(
        default=None, description="of the network before the surgery, without an attack"
    )
    uncut: Share | None = Field(
        default=None,
        description="standing of the network before the surgery, under the same gradient attacks",
    )
    difference: Paired | None = Field(
        default=None,
        description="`worst` less `uncut`, image by image; None where the uncut network does not work any more",
    )

    @property
    def text(self) -> str:
        """The first sentence of a surgery's page."""
        parts = [f"attacked by itself the cut network stands at {percent(self.itself.value)}"]
        if self.chosen:
            parts.append(f"the attacker who knows the cut leaves {percent(self.worst.value)}")
        if self.uncut_clean is not None and self.difference is None:
            parts.append(
                f"the uncut network is right on {percent(self.uncut_clean.value)} of the images without any attack, "
                f"the cut one on {percent(self.clean.value)}: training came between, so the two cannot be compared"
            )
        if self.uncut is None or self.difference is None:
            return ", ".join(parts)
        return (
            f"{', '.join(parts)}, the uncut network has {percent(self.uncut.value)}: "
            f"the surgery adds {points_with_interval(self.difference)}"
        )

    @property
    def trial(self) -> str:
        """What each network that the record makes left on the images of the trial; "" where none was tried."""
        if not self.tried:
            return ""
        left = ", ".join(f"{t.source} {t.share.k}" for t in self.tried)
        return (
            f"What the record knows, tried on {self.tried[0].share.n} images; of these stand: {left} (the first is run "
            "at full strength)"
        )

    @property
    def warning(self) -> str:
        """Say that what the surgery seems to add is not there under the attacker who knows it; "" otherwise."""
        if self.uncut is None or self.difference is None or not self.itself.k > self.uncut.k >= self.worst.k:
            return ""
        return (
            f"attacked by itself the cut network seems {percent(self.itself.value - self.uncut.value)} better than the "
            "uncut one; the attacker who knows the cut leaves nothing of it: the surgery hides gradients"
        )


def strongest(outcome: Outcome, sources: Collection[str]) -> tuple[Tried, ...]:
    """Sort an attacker's networks by what they did to a few images, the strongest first.

    Args:
        outcome: The verdicts of `pilots`.
        sources: The networks, of which the earlier is taken where two did the same.
    """
    clean = outcome.clean
    right = {v.example for v in clean if not v.success}
    turned: dict[str | None, set[int]] = {s: set() for s in sources}
    for v in outcome.verdicts:
        if v.success and v.source in turned:
            turned[v.source].add(v.example)
    tried = [Tried(source=s, share=wilson(len(right - turned[s]), len(clean))) for s in sources]
    return tuple(sorted(tried, key=lambda t: t.share.k))


def gained(outcome: Outcome, uncut: Outcome | None, main: Threat | None, tried: tuple[Tried, ...]) -> Gain:
    """Compare a cut network with the network before the surgery, under the attacker who knows the cut.

    Args:
        outcome: The cut network's verdicts.
        uncut: The verdicts of the network before the surgery on the same images; None if it cannot be had.
        main: The main threat.
        tried: The networks made from the record, the strongest first.
    """
    clean, worst = standing(outcome.rows(), main)
    _, itself = standing((r for r in outcome.rows() if r["source"] is None), main)
    n, fields = len(clean), dict[str, Any]()
    whole = wilson(sum(clean.values()), n)
    if uncut is not None:
        right, stands = standing(uncut.rows(), main)
        fields = {"uncut_clean": wilson(sum(right.values()), n), "uncut": wilson(sum(stands.values()), n)}
        # What a revert puts together of trained and of replaced weights may not work any more.
        if fields["uncut_clean"].high >= whole.low:
            fields["difference"] = mcnemar([stands[e] for e in clean], [worst[e] for e in clean])
    return Gain(
        tried=tried,
        chosen=tried[0].source if tried else None,
        clean=whole,
        itself=wilson(sum(itself.values()), n),
        worst=wilson(sum(worst.values()), n),
        **fields,
    )
