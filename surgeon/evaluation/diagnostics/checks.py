"""Diagnostics as tests on images: a check fails only where chance explains it at most once in a thousand sets of images.

Attacks are compared image by image, on the same images. One that should be the stronger fails against another where
two exact tests both say so, each at the error rate ERROR: of the images that only one of the two turned, the other turned
more (McNemar's, one-sided), and it turned more than MARGIN of all images while the one left them (binomial). Either alone
would fail honest networks: the first for a trifle on many images, the second for two attacks that turn different images.

Two losses of one attack need not be equally strong: on a network that is trained for an epoch, the cross-entropy misses a
third of what a loss on the largest logits turns. So one of them fails only where it misses more than HALF.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from surgeon.numerals import percent
from surgeon.results.assessment import Check

ERROR = 1e-3
"""Of one comparison: the most that chance alone may fail it with."""
MARGIN = 0.02
"""Share of the images that attacks of equal worth may differ by."""
HALF = 0.5
"""Share of what one loss turns that another may miss, of the images whose slopes may be off, of what noise leaves."""
STRAY = 0.01
"""Share of the images that may be odd by themselves: without a gradient, or out of reach."""
ADVICE = 0.05
"""Error rate of an advice, which fails nothing."""
LEAST = 10
"""Images below which no comparison can fail: 0.5 to this power is ERROR."""


class Tried(NamedTuple):
    """An attack's name, and which of the images (M,) stand it."""

    name: str
    stands: Tensor


class Compared(NamedTuple):
    """Two attacks on the same images: what only the second turned, what only the first did, of how many; p: of both tests."""

    only_other: int
    only_this: int
    n: int
    p: float


def beyond(k: int, n: int, share: float) -> float:
    """How likely k of n or more are, where a share of at most `share` is expected (exact binomial)."""
    from scipy.stats import binomtest

    return float(binomtest(k, n, share, alternative="greater").pvalue) if n else 1.0


def compared(this: Tensor, other: Tensor, margin: float = MARGIN) -> Compared:
    """Whether the images (M,) that stand one attack fall to another more often than the other way round, and than `margin`."""
    only_other, only_this = int((this & ~other).sum()), int((other & ~this).sum())
    chance = beyond(only_other, only_other + only_this, 0.5)
    return Compared(only_other, only_this, len(this), max(chance, beyond(only_other, len(this), margin)))


def at_least_as_strong(code: str, this: Tried, other: Tried, *, count: int, means: str) -> Check:
    """Fails where `other` is stronger than `this`, which should be at least as strong. count: images that accuracies are shares of."""
    found = compared(this.stands, other.stands)
    return Check(
        code=code,
        measured={**accuracies((this, other), count), f"only {other.name} turns": found.only_other,
                  f"only {this.name} turns": found.only_this},
        plain=(f"only {other.name} turns", f"only {this.name} turns"),
        rule=f"{other.name} turns more of what {this.name} leaves than the other way round, and more than {percent(MARGIN)}",
        p=found.p, failed=found.p <= ERROR, reason=f"{told(this, other, found)}: {means}",
    )  # fmt: skip


def missed(weak: Tensor, strong: Tensor) -> Compared:
    """Whether an attack misses more than HALF of the images (M,) that another turns, and more than the other way round."""
    only_strong, only_weak = int((weak & ~strong).sum()), int((strong & ~weak).sum())
    turned = int((~strong).sum())
    chance = beyond(only_strong, only_strong + only_weak, 0.5)
    return Compared(only_strong, only_weak, len(weak), max(chance, beyond(only_strong, turned, HALF)))


def equally_useful(code: str, one: Tried, two: Tried, *, count: int) -> Check:
    """Fails where either of two losses misses more than HALF of what the other turns."""
    weak, strong = min((one, two), (two, one), key=lambda pair: missed(pair[0].stands, pair[1].stands).p)
    found = missed(weak.stands, strong.stands)
    turned = int((~strong.stands).sum())
    only = {strong.name: found.only_other, weak.name: found.only_this}
    return Check(
        code=code,
        measured={**accuracies((one, two), count), **{f"only {t.name} turns": only[t.name] for t in (one, two)}},
        plain=tuple(f"only {t.name} turns" for t in (one, two)),
        rule="one misses more than half of what the other turns, and more than the other way round",
        p=found.p, failed=found.p <= ERROR,
        reason=f"{weak.name} misses {found.only_other} of the {turned} images that {strong.name} turns (of {found.n}), "
        f"{found.only_this} the other way round: the gradient of its loss misleads",
    )  # fmt: skip


def not_growing(code: str, curve: list[Tried], *, count: int, means: str) -> Check:
    """Fails where of two neighbours on a curve of growing attacks the smaller one is stronger."""
    pairs = list(zip(curve[1:], curve, strict=False))
    worst = min(pairs, key=lambda pair: compared(pair[0].stands, pair[1].stands).p)
    found = compared(worst[0].stands, worst[1].stands)
    return Check(
        code=code, measured={**accuracies(curve, count)},
        rule=f"a size turns more of what the next larger leaves than the other way round, and more than {percent(MARGIN)}",
        p=found.p, failed=found.p <= ERROR, reason=f"{told(*worst, found)}: {means}",
    )  # fmt: skip


def rare(code: str, counts: dict[str, int], n: int, *, share: float, what: str, means: str) -> Check:
    """Fails where more than `share` of n images are odd, for any of the counts."""
    name = max(counts, key=lambda k: counts[k])
    return Check(
        code=code, measured={k: v / n for k, v in counts.items()}, rule=f"more than {percent(share)} of the images {what}",
        failed=beyond(counts[name], n, share) <= ERROR, reason=f"{counts[name]} of {n} images {what} ({name}): {means}",
    )  # fmt: skip


def accuracies(tried: list[Tried] | tuple[Tried, ...], count: int) -> dict[str, float]:
    """By attack, as shares of `count` images."""
    return {t.name: int(t.stands.sum()) / count for t in tried}


def told(weak: Tried, strong: Tried, found: Compared) -> str:
    """`APGD-CE is weaker than APGD-DLR: 40 of 60 images stand the first and fall to the second, 0 the other way round`."""
    return (
        f"{weak.name} is weaker than {strong.name}: {found.only_other} of {found.n} images stand the first and fall to "
        f"the second, {found.only_this} the other way round"
    )
