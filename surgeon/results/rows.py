"""Accuracy under each attack at each size, over seeds and draws. No torch here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from surgeon.results.kinds import Norm
from surgeon.results.statistics import Share, wilson
from surgeon.results.threat import Attack, size_text
from surgeon.results.verdict import Outcome


class Row(BaseModel):
    """Accuracy under one attack at one norm and ε: one share for each seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    group: str
    source: str | None = None
    norm: Norm
    eps: float | None
    cascade: bool = Field(description="whether what fell to the attacks before it counts as fallen")
    seeds: tuple[int, ...]
    shares: tuple[Share, ...]
    mean: float
    of_right: float | None = Field(
        description="the mean as a share of the images that are right as they are, which alone are attacked"
    )
    std: float | None = Field(default=None, description="over seeds, where there are two or more")
    draws: dict[str, float] | None = Field(
        default=None,
        description="of a random model: accuracy on the mean draw, by majority, and where every draw is right",
    )

    @property
    def label(self) -> str:
        """Attack, norm, ε and source as text; as `Attack.label`."""
        return f"{self.attack} {size_text(self.norm, self.eps)}" + (
            f" from {self.source}" if self.source else ""
        )


def rows_of(outcome: Outcome, n: int, wrong: set[int]) -> tuple[Row, ...]:
    """Compute one row for each attack and size of an outcome.

    Args:
        outcome: The verdicts.
        n: Number of images.
        wrong: Examples that are misclassified without an attack.

    Returns:
        The rows in the order of the attacks.
    """
    fallen: dict[Any, set[int]] = defaultdict(lambda: set(wrong))
    clean = {v.example: v.votes for v in outcome.clean}
    lowest: dict[Any, dict[int, float]] = defaultdict(lambda: dict(clean))
    drawn: dict[Any, dict[str, float]] = {}
    by_attack: dict[Any, list[tuple[Attack, Share]]] = defaultdict(list)
    for attack in outcome.attacks:
        turned: set[int] = set()
        votes = lowest[attack.threat] if attack.cascade else dict(clean)
        for v in outcome.of(attack):
            if outcome.draws > 1:
                votes[v.example] = min(votes[v.example], v.votes)
            if v.success:
                turned.add(v.example)
        if outcome.draws > 1:
            drawn[(attack.name, attack.group, attack.source, attack.norm, attack.eps, attack.seed)] = _draws(
                votes
            )
        fallen[attack.threat] |= turned
        standing = n - len(fallen[attack.threat] if attack.cascade else turned | wrong)
        by_attack[(attack.name, attack.group, attack.source, attack.norm, attack.eps)].append(
            (attack, wilson(standing, n))
        )
    rows = []
    for (name, group, source, norm, eps), many in by_attack.items():
        shares = tuple(share for _, share in many)
        values = [s.value for s in shares]
        rows.append(
            Row(
                attack=name,
                group=group,
                source=source,
                norm=norm,
                eps=eps,
                cascade=many[0][0].cascade,
                seeds=tuple(a.seed for a, _ in many),
                shares=shares,
                mean=fmean(values),
                of_right=fmean(values) * n / (n - len(wrong)) if n > len(wrong) else None,
                std=stdev(values) if len(values) > 1 else None,
                draws=drawn.get((name, group, source, norm, eps, many[0][0].seed)),
            )
        )
    return tuple(rows)


def _draws(votes: Mapping[int, float]) -> dict[str, float]:
    """Accuracy by draws; votes: each image's lowest share of right draws up to this attack."""
    n, values = len(votes), votes.values()
    return {
        "mean": sum(values) / n,
        "majority": sum(v > 0.5 for v in values) / n,
        "all": sum(v == 1 for v in values) / n,
    }
