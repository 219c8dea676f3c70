"""Which of two starts keeps a trained network better, and the words for it."""

import math

import pytest

from surgeon.effects import Drift
from surgeon.execution import Trial
from surgeon.surgery.choice import _note_of_less, _note_of_more, _why, keeps_more


def drift(relative, agreement, images=64):
    return Drift(relative=relative, agreement=agreement, images=images, source="calibration")


@pytest.mark.parametrize(
    ("new", "old", "more"),
    [
        (drift(0.5, 0.7), drift(1.0, 0.7), True),
        (drift(0.95, 0.7), drift(1.0, 0.7), False),  # not clearly less
        (drift(0.5, 0.7), drift(1.0, 0.9), False),  # predictions suffer by more than 1/8
        (
            drift(3.0, 0.7),
            drift(1.0, 0.125),
            True,
        ),  # clearly more predictions, though the logits drift farther
        (drift(3.0, 0.7), drift(1.0, 0.5), False),  # by less than 2/8
        (drift(math.inf, 1.0), drift(1.0, 0.0), False),
        (drift(math.nan, 1.0), drift(1.0, 0.0), False),
    ],
)
def test_a_dearer_start_is_used_where_it_keeps_clearly_more(new, old, more):
    assert keeps_more(new, old) is more


def trial(start, *drifted):
    return Trial(start=start, statistics=0, drift=drift(*drifted))


def test_the_words_tell_what_was_kept():
    far, near = trial("anneal", 3.0, 0.7), trial("random", 1.0, 0.125)
    assert _why(far, [near, far], 64) == "of 2 tried it keeps most on 64 images held out"
    assert (
        _why(near, [near, trial("data", 2.0, 0.2)], 64)
        == "of 2 tried its logits drift least on 64 images held out"
    )
    passed_over = _note_of_less(near, [near, trial("data", 2.0, 0.2)])
    assert passed_over.severity == "warning" and ", as its logits drift less; " in passed_over.text
    assert ", as it keeps more; " in _note_of_less(far, [far, near]).text
    assert "anneal with stock statistics would keep more" in _note_of_more(near, [far]).text
    assert (
        "data with stock statistics would drift less" in _note_of_more(near, [trial("data", 0.5, 0.1)]).text
    )
