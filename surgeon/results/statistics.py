"""Proportions with confidence intervals, and paired comparison of two models; computed by scipy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from surgeon.arguments import checked_count
from surgeon.errors import ArgumentError
from surgeon.results.rights import checked_rights

_Z = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""
_CLOSE = 1e-6
"""How far a bound that is read may lie from the one that its counts give."""


class Share(BaseModel):
    """A proportion, k of n, with its 95 % Wilson interval from `low` to `high`.

    Counts or bounds that do not belong together are refused.

    Examples:
        >>> from surgeon.evaluation import wilson
        >>> share = wilson(45, 50)
        >>> share.value, round(share.low, 3), round(share.high, 3)
        (0.9, 0.786, 0.957)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(ge=0)
    n: int = Field(ge=0)
    low: float
    high: float

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.k > self.n:
            raise ValueError(f"k={self.k} of n={self.n} is not a share")
        low, high = _interval(self.k, self.n)
        # Written so that NaN fails too.
        if not (abs(self.low - low) <= _CLOSE and abs(self.high - high) <= _CLOSE):
            raise ValueError(
                f"{self.low:g} to {self.high:g} is not the interval of {self.k} of {self.n}, "
                f"which is {low:g} to {high:g}: "
                "a number was changed"
            )
        return self

    @property
    def value(self) -> float:
        """The proportion k / n; NaN for n = 0."""
        return self.k / self.n if self.n else float("nan")


def _interval(k: int, n: int) -> tuple[float, float]:
    """Wilson's interval in closed form: results are also read where there is no scipy."""
    if n == 0:
        return 0.0, 1.0
    share, square = k / n, _Z * _Z / n
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    return middle - half, middle + half


class Paired(BaseModel):
    """Comparison of two models on the same images: difference in accuracy, its interval and a p-value.

    Examples:
        >>> from surgeon.evaluation import mcnemar
        >>> paired = mcnemar([True, True, False, False], [True, False, True, True])
        >>> paired.only_first, paired.only_second
        (1, 2)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    only_first: int = Field(description="images that the first alone gets right")
    only_second: int
    difference: float = Field(description="accuracy of the second minus that of the first")
    low: float = Field(description="95 % interval of the difference")
    high: float
    p: float = Field(description="McNemar's exact test, two-sided")


def wilson(k: int, n: int) -> Share:
    """Compute a proportion with its 95 % Wilson interval (Wilson 1927).

    Args:
        k: Number of successes.
        n: Number of trials.

    Returns:
        The proportion; for n = 0 the interval is 0 to 1.

    Raises:
        ArgumentError: Unless 0 ≤ k ≤ n.

    Examples:
        >>> from surgeon.evaluation import wilson
        >>> wilson(45, 50).value
        0.9
    """
    from scipy.stats import binomtest

    k, n = checked_count("k", k, 0), checked_count("n", n, 0)
    if k > n:
        raise ArgumentError(f"k={k} of n={n} is not a share")
    if n == 0:
        return Share(k=0, n=0, low=0.0, high=1.0)
    interval = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Share(k=k, n=n, low=float(interval.low), high=float(interval.high))


def mcnemar(first: Iterable[bool], second: Iterable[bool]) -> Paired:
    """Compare two models by McNemar's exact test (McNemar 1947), with the interval of Agresti & Min 2005.

    Args:
        first: Whether the first model is right, for each image: booleans, or a tensor or array of bool (N,).
        second: Whether the second model is right, for the same images.

    Returns:
        The comparison; positive differences favour the second model.

    Raises:
        ArgumentError: A value is not a boolean, or the two differ in length or are empty.

    Examples:
        >>> from surgeon.evaluation import mcnemar
        >>> paired = mcnemar([True, False, False, False], [True, True, True, False])
        >>> paired.difference, paired.p
        (0.5, 0.5)
    """
    from scipy.stats import binomtest, norm

    first, second = checked_rights("first", first), checked_rights("second", second)
    if len(first) != len(second) or not first:
        raise ArgumentError(
            f"{len(first)} and {len(second)} images cannot be compared: both models need the same, one or more"
        )
    n = len(first)
    b = sum(1 for f, s in zip(first, second, strict=True) if f and not s)
    c = sum(1 for f, s in zip(first, second, strict=True) if s and not f)
    p = float(binomtest(c, b + c).pvalue) if b + c else 1.0
    # Half an image is added to each of the four cells: the plain interval is too narrow for few images.
    total, difference = n + 2, (c - b) / (n + 2)
    spread = float(norm.ppf(0.975)) * (((b + 0.5) + (c + 0.5) - (c - b) ** 2 / total) ** 0.5) / total
    return Paired(
        n=n,
        only_first=b,
        only_second=c,
        difference=(c - b) / n,
        low=max(-1.0, difference - spread),
        high=min(1.0, difference + spread),
        p=p,
    )


def more_often(this: int, other: int) -> float:
    """Compute the p-value of McNemar's exact test, one-sided: as many cases of the first kind, if both are as likely.

    Args:
        this: Number of cases of the first kind.
        other: Number of cases of the second.

    Returns:
        The p-value; 1 without cases.

    Examples:
        >>> from surgeon.results.statistics import more_often
        >>> more_often(10, 0) == 2**-10, more_often(0, 0)
        (True, 1.0)
    """
    from scipy.stats import binomtest

    return float(binomtest(this, this + other, alternative="greater").pvalue) if this + other else 1.0


def clopper_pearson_low(k: int, n: int, alpha: float) -> float:
    """Compute the exact one-sided lower bound of a probability (Clopper & Pearson 1934).

    Args:
        k: Number of successes.
        n: Number of trials.
        alpha: Probability that the bound is too high.

    Returns:
        The bound at confidence 1 − alpha.
    """
    from scipy.stats import beta

    return 0.0 if k == 0 else float(beta.ppf(alpha, k, n - k + 1))
