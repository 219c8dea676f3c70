"""Shares of epochs and steps are those that were written, not what floats make of them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from surgeon.recipe import Training
from surgeon.training.schedule import first_averaged, part_of


@pytest.mark.parametrize("epochs", [50, 100, 200])
def test_averaging_begins_after_the_share_that_was_written(epochs: int) -> None:
    for hundredths in range(1, 100):
        settings = Training.model_validate({"epochs": epochs, "swa": {"start": hundredths / 100}})
        assert first_averaged(settings) == hundredths * epochs // 100


@pytest.mark.parametrize("number", [7, 100, 2001])
def test_a_share_is_exact_where_it_ends_at_an_epoch_or_a_step(number: int) -> None:
    for hundredths in range(101):
        exact = Fraction(hundredths * number, 100)
        found = part_of(hundredths / 100, number)
        assert (found == int(found)) == (exact.denominator == 1)
        assert found == float(exact)
