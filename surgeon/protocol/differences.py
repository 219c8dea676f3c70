"""The difference of two rows over seeds: paired where the images are known, else of the two shares."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from surgeon.protocol.measures import Measured
from surgeon.results.differences import Difference, over_seeds
from surgeon.results.statistics import Share, mcnemar


def difference_of(pairs: Sequence[tuple[Measured, Measured]]) -> Difference | None:
    """Compute the second measure less the first: the mean over seeds, with its 95 % interval.

    Args:
        pairs: The two measures of each seed, on the same images.

    Returns:
        The difference of accuracies; None without pairs, or for times. Its `pairs` are empty where the shares alone
        are known.
    """
    if not pairs or any(m.share is None for pair in pairs for m in pair):
        return None
    if all(m.right for pair in pairs for m in pair):
        return over_seeds([mcnemar(*([bit == "1" for bit in m.right] for m in pair)) for pair in pairs])
    apart = [newcombe(one.share, other.share) for one, other in pairs if one.share and other.share]
    mean, half = fmean(d for d, _, _ in apart), max(high - low for _, low, high in apart) / 2
    if len(apart) == 1:
        return Difference(mean=mean, low=apart[0][1], high=apart[0][2], pairs=())
    from scipy.stats import t

    spread = float(t.ppf(0.975, len(apart) - 1)) * stdev(d for d, _, _ in apart) / len(apart) ** 0.5
    half = max(half, spread)  # all seeds share the images, as in `over_seeds`
    return Difference(mean=mean, low=mean - half, high=mean + half, pairs=())


def newcombe(one: Share, other: Share) -> tuple[float, float, float]:
    """Compute the second share less the first, with its 95 % interval (Newcombe 1998, method 10).

    The two are taken for independent. Shares of the same images mostly rise together, so the interval is mostly wider
    than that of the paired difference.

    Args:
        one: The first share.
        other: The second share.

    Returns:
        (difference, lower end, upper end).

    Examples:
        >>> from surgeon.evaluation import wilson
        >>> [round(v, 4) for v in newcombe(wilson(48, 80), wilson(56, 70))]
        [0.2, 0.0524, 0.3339]
    """
    found = other.value - one.value
    below = ((other.value - other.low) ** 2 + (one.high - one.value) ** 2) ** 0.5
    above = ((other.high - other.value) ** 2 + (one.value - one.low) ** 2) ** 0.5
    return found, found - below, found + above
