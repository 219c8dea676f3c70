"""How shares are written: what is not all is not 100.0 %, and what is not nothing not 0.0 %."""

from __future__ import annotations

from fractions import Fraction

import pytest

from surgeon.numerals import bounds, percent, points
from surgeon.results.statistics import wilson


@pytest.mark.parametrize("n", [3, 1000, 2001, 10_000, 50_000])
def test_some_and_all_but_some_are_never_written_as_none_and_all(n: int) -> None:
    for k in {0, 1, 2, n // 3, n - 2, n - 1, n}:
        said = Fraction(percent(k / n).removesuffix(" %"))
        assert (said == 0) == (k == 0), (k, n)
        assert (said == 100) == (k == n), (k, n)
        assert abs(said - Fraction(100 * k, n)) <= Fraction(1, 20)


def test_the_usual_shares_have_one_decimal() -> None:
    assert [percent(k / 1000) for k in (0, 1, 522, 999, 1000)] == [
        "0.0 %",
        "0.1 %",
        "52.2 %",
        "99.9 %",
        "100.0 %",
    ]


@pytest.mark.parametrize("rounded", [-1e-17, -0.0, 1 + 2e-16, 1 - 1e-16])
def test_rounding_of_floats_has_no_digits_and_no_sign(rounded: float) -> None:
    assert percent(rounded) in ("0.0 %", "100.0 %")


def test_a_difference_that_is_none_has_no_minus() -> None:
    assert [points(d) for d in (0.0, -0.0, -1e-12)] == ["+0.0"] * 3
    assert [points(d) for d in (-0.0003, 0.0003, 1.0, -1.0)] == ["−0.03", "+0.03", "+100.0", "−100.0"]


def test_intervals_of_a_few_of_many_do_not_reach_zero() -> None:
    assert bounds(wilson(3, 10_000)) == "0.01–0.1"
    assert bounds(wilson(0, 10_000)) == "0.0–0.04"
