"""The difference of two rows over seeds: paired where the images are known, else of the two shares or numbers."""

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
        The difference of accuracies, or of numbers; None without pairs, for times, and for numbers of one seed, which
        have no interval. Its `pairs` are empty where the shares alone are known.
    """
    if pairs and all(m.value is not None for pair in pairs for m in pair):
        return _of_numbers([(other.value or 0.0) - (one.value or 0.0) for one, other in pairs])
    if not pairs or any(m.share is None for pair in pairs for m in pair):
        return None
    if all(m.right for pair in pairs for m in pair):
        return over_seeds([mcnemar(*([bit == "1" for bit in m.right] for m in pair)) for pair in pairs])
    apart = [newcombe(one.share, other.share) for one, other in pairs if one.share and other.share]
    mean, half = fmean(d for d, _, _ in apart), max(high - low for _, low, high in apart) / 2
    if len(apart) == 1:
        return Difference(mean=mean, low=apart[0][1], high=apart[0][2], pairs=())
    half = max(half, _half([d for d, _, _ in apart]))  # all seeds share the images, as in `over_seeds`
    return Difference(mean=mean, low=max(-1.0, mean - half), high=min(1.0, mean + half), pairs=())


def _of_numbers(apart: Sequence[float]) -> Difference | None:
    """The mean over seeds with Student's interval; None for one seed."""
    if len(apart) < 2:
        return None
    mean, half = fmean(apart), _half(apart)
    return Difference(mean=mean, low=mean - half, high=mean + half, pairs=())


def _half(apart: Sequence[float]) -> float:
    """Half of Student's 95 % interval of the mean."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(apart) - 1)) * stdev(apart) / len(apart) ** 0.5


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
    difference = other.value - one.value
    below = ((other.value - other.low) ** 2 + (one.high - one.value) ** 2) ** 0.5
    above = ((other.high - other.value) ** 2 + (one.value - one.low) ** 2) ** 0.5
    return difference, difference - below, difference + above
