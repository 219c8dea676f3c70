"""A difference of accuracies over seeds stays within what two accuracies can differ by."""

from __future__ import annotations

import pytest

from surgeon.evaluation import mcnemar
from surgeon.results.differences import over_seeds


def test_two_seeds_that_differ_widely_give_no_interval_beyond_all_images() -> None:
    n = 40
    pairs = [mcnemar([False] * n, [k < right for k in range(n)]) for right in (20, 36)]
    found = over_seeds(pairs)
    assert found.mean == pytest.approx(0.7)
    assert (found.low, found.high) == (-1.0, 1.0)  # Student's of two seeds would be -1.8 to 3.2
