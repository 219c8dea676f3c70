"""Diagnostics as statistical tests: chance alone fails a check at most once in a thousand sets of images.

A check that makes several comparisons (four sizes, two losses, two counts) fails by any of them: their smallest p-value
counts times their number (Bonferroni's correction, which holds however the comparisons depend on each other).

Attacks are compared on the same images, image by image. An attack that should be the stronger one fails
against another if two exact tests both say so, each at the error rate of the check. McNemar's test (one-sided): of
the images that only one of the two turned, the other turned more. Binomial test: the other turned more than
MARGIN of all images that the first left. Either test alone would fail honest networks: the first for a tiny
difference on many images, the second for two attacks that turn different images.

Two losses of one attack need not be equally strong: on a network that was trained for one epoch,
cross-entropy misses a third of what a loss on the largest logits turns. So a loss fails only if it misses
more than HALF.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from surgeon.numerals import percent
from surgeon.results.assessment import Check
from surgeon.results.counts import ERROR

MARGIN = 0.02
"""Share of the images by which attacks of equal strength may differ."""
HALF = 0.5
"""Share that a loss may miss of what another turns; also of images with wrong slopes, or left by noise."""
STRAY = 0.01
"""Share of the images that may be exceptions: without a gradient, or out of reach."""
ADVICE = 0.05
"""Error rate of an advice, which does not fail a check."""
LEAST = 10
"""With fewer images no comparison can fail: 0.5 to this power is just below ERROR. A check that makes two needs one
more, one that makes four two more."""


class Tried(NamedTuple):
    """An attack's name, and which of the images (M,) withstand it."""

    name: str
    stands: Tensor


class Compared(NamedTuple):
    """Comparison of two attacks on n images: how many only the second turned, how many only the first.

    p: The larger p-value of both tests.
    """

    only_other: int
    only_this: int
    n: int
    p: float


def beyond(k: int, n: int, share: float) -> float:
    """Compute the probability of k or more of n if each has probability `share` (exact binomial).

    Args:
        k: Number of cases.
        n: Number of trials; for 0 the result is 1.
        share: Probability of a case.

    Returns:
        The probability.
    """
    from scipy.stats import binomtest

    return float(binomtest(k, n, share, alternative="greater").pvalue) if n else 1.0


def of_several(*chances: float) -> float:
    """Compute the p-value of a check that fails by any of several comparisons, corrected for their number.

    Source: Bonferroni's inequality, P(any pᵢ ≤ α/m) ≤ α; for the smallest p-value Holm's procedure gives the same.

    Args:
        chances: The p-values of the comparisons, at least one.

    Returns:
        The smallest one times their number, at most 1.
    """
    return min(1.0, len(chances) * min(chances))


def compared(this: Tensor, other: Tensor, margin: float = MARGIN) -> Compared:
    """Test whether another attack turns more of what one leaves than the reverse.

    Args:
        this: (M,) bool, the images that withstand the first attack.
        other: (M,) bool, the images that withstand the second.
        margin: Share of the images by which equal attacks may differ; the difference must be larger.

    Returns:
        The comparison.
    """
    only_other, only_this = int((this & ~other).sum()), int((other & ~this).sum())
    chance = beyond(only_other, only_other + only_this, 0.5)
    return Compared(only_other, only_this, len(this), max(chance, beyond(only_other, len(this), margin)))


def at_least_as_strong(code: str, this: Tried, other: Tried, *, count: int, means: str) -> Check:
    """Make the check that fails if `other` is stronger than `this`, which should be at least as strong.

    Args:
        code: Code of the check.
        this: The attack that should be stronger.
        other: The attack that should be weaker.
        count: Number of images that accuracies are shares of.
        means: What a failure means.

    Returns:
        The check.
    """
    comparison = compared(this.stands, other.stands)
    return Check(
        code=code,
        measured={
            **accuracies((this, other), count),
            f"only {other.name} turns": comparison.only_other,
            f"only {this.name} turns": comparison.only_this,
        },
        plain=(f"only {other.name} turns", f"only {this.name} turns"),
        rule=(
            f"{other.name} turns more of what {this.name} leaves than the other way round, and "
            f"more than {percent(MARGIN)}"
        ),
        p=comparison.p,
        failed=comparison.p <= ERROR,
        reason=f"{told(this, other, comparison)}: {means}",
    )


def missed(weak: Tensor, strong: Tensor) -> Compared:
    """Test whether an attack misses more than HALF of what another turns, and more than the reverse.

    Args:
        weak: (M,) bool, the images that withstand the weaker attack.
        strong: (M,) bool, the images that withstand the stronger one.

    Returns:
        The comparison.
    """
    only_strong, only_weak = int((weak & ~strong).sum()), int((strong & ~weak).sum())
    turned = int((~strong).sum())
    chance = beyond(only_strong, only_strong + only_weak, 0.5)
    return Compared(only_strong, only_weak, len(weak), max(chance, beyond(only_strong, turned, HALF)))


def equally_useful(code: str, one: Tried, two: Tried, *, count: int) -> Check:
    """Make the check that fails if either of two losses misses more than HALF of what the other turns.

    Args:
        code: Code of the check.
        one: An attack with one loss.
        two: The attack with the other.
        count: Number of images that accuracies are shares of.

    Returns:
        The check.
    """
    both = [(missed(weak.stands, strong.stands), weak, strong) for weak, strong in ((one, two), (two, one))]
    comparison, weak, strong = min(both, key=lambda way: way[0].p)
    p = of_several(*(way[0].p for way in both))
    turned = int((~strong.stands).sum())
    only = {strong.name: comparison.only_other, weak.name: comparison.only_this}
    return Check(
        code=code,
        measured={
            **accuracies((one, two), count),
            **{f"only {t.name} turns": only[t.name] for t in (one, two)},
        },
        plain=tuple(f"only {t.name} turns" for t in (one, two)),
        rule="one misses more than half of what the other turns, and more than the other way round",
        p=p,
        failed=p <= ERROR,
        reason=f"{weak.name} misses {comparison.only_other} of the {turned} images that {strong.name} turns "
        f"(of {comparison.n}), {comparison.only_this} the other way round: the gradient of its loss misleads",
    )


def not_growing(code: str, curve: list[Tried], *, count: int, means: str) -> Check:
    """Make the check that fails if, of two neighbouring sizes of an attack, the smaller one is stronger.

    Args:
        code: Code of the check.
        curve: The attack at growing sizes.
        count: Number of images that accuracies are shares of.
        means: What a failure means.

    Returns:
        The check.
    """
    pairs = [
        (compared(bigger.stands, smaller.stands), bigger, smaller)
        for bigger, smaller in zip(curve[1:], curve, strict=False)
    ]
    comparison, bigger, smaller = min(pairs, key=lambda pair: pair[0].p)
    p = of_several(*(pair[0].p for pair in pairs))
    return Check(
        code=code,
        measured={**accuracies(curve, count)},
        rule=(
            "a size turns more of what the next larger leaves than the other way round, and more "
            f"than {percent(MARGIN)}"
        ),
        p=p,
        failed=p <= ERROR,
        reason=f"{told(bigger, smaller, comparison)}: {means}",
    )


def rare(code: str, counts: dict[str, int], n: int, *, share: float, what: str, means: str) -> Check:
    """Make the check that fails if more than `share` of n images are exceptions, by any of the counts.

    Args:
        code: Code of the check.
        counts: Number of exceptions by name.
        n: Number of images.
        share: Share that is accepted.
        what: What the exceptions do.
        means: What a failure means.

    Returns:
        The check.
    """
    name = max(counts, key=lambda k: counts[k])
    return Check(
        code=code,
        measured={k: v / n for k, v in counts.items()},
        rule=f"more than {percent(share)} of the images {what}",
        failed=of_several(*(beyond(k, n, share) for k in counts.values())) <= ERROR,
        reason=f"{counts[name]} of {n} images {what} ({name}): {means}",
    )


def accuracies(tried: list[Tried] | tuple[Tried, ...], count: int) -> dict[str, float]:
    """Compute accuracy under each attack.

    Args:
        tried: The attacks.
        count: Number of images that accuracies are shares of.

    Returns:
        Name of the attack → accuracy.
    """
    return {t.name: int(t.stands.sum()) / count for t in tried}


def told(weak: Tried, strong: Tried, comparison: Compared) -> str:
    """Describe a comparison in words.

    For example: `APGD-CE is weaker than APGD-DLR: 40 of 60 images stand the first and fall to the second, 0
    the other way round`.

    Args:
        weak: The weaker attack.
        strong: The stronger attack.
        comparison: The comparison.

    Returns:
        The text.
    """
    return (
        f"{weak.name} is weaker than {strong.name}: {comparison.only_other} of {comparison.n} images stand the first "
        f"and fall to the second, {comparison.only_this} the other way round"
    )
