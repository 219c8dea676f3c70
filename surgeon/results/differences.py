"""The difference of two networks over seeds, paired image by image. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict, Field

from surgeon.results.statistics import Paired


class Difference(BaseModel):
    """A network's accuracy less another's on the same images: the mean over seeds, with its 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float
    high: float
    pairs: tuple[Paired, ...] = Field(
        description=(
            "by seed; of one seed the interval is its own, of several Student's over them, no "
            "narrower than one's"
        )
    )


def over_seeds(pairs: Sequence[Paired]) -> Difference:
    """Compute the mean difference over seeds and its interval.

    All seeds share the images, so more seeds cannot narrow the interval of one.

    Args:
        pairs: The comparison of each seed.
    """
    values = [p.difference for p in pairs]
    if len(pairs) == 1:
        return Difference(mean=values[0], low=pairs[0].low, high=pairs[0].high, pairs=tuple(pairs))
    from scipy.stats import t

    mean, widest = fmean(values), max(p.high - p.low for p in pairs) / 2
    half = max(float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5, widest)
    # Student's interval of two or three seeds may be wider than what two accuracies can differ by.
    return Difference(mean=mean, low=max(-1.0, mean - half), high=min(1.0, mean + half), pairs=tuple(pairs))
