"""Comparisons of attacks image by image: how often chance fails them, what they see, what they say."""

from math import comb

import pytest
import torch

from surgeon.evaluation.diagnostics.checks import (
    ERROR,
    LEAST,
    MARGIN,
    STRAY,
    Tried,
    at_least_as_strong,
    beyond,
    compared,
    equally_useful,
    missed,
    not_growing,
    of_several,
    rare,
)
from surgeon.evaluation.diagnostics.probes import _random_sign

pytest.importorskip("scipy")


def stands(n, fallen):
    found = torch.ones(n, dtype=torch.bool)
    found[list(fallen)] = False
    return found


def pair(n, only_other, only_this, both=0):
    """Images (n,) that stand two attacks, of which one alone turns so many, the other alone so many, and both."""
    this = stands(n, range(only_other, only_other + only_this + both))
    other = stands(n, [*range(only_other), *range(only_other + only_this, only_other + only_this + both)])
    return this, other


@pytest.mark.parametrize("n", [16, 40, 64])
@pytest.mark.parametrize("test", [compared, missed])
def test_attacks_of_equal_worth_fail_at_most_once_in_a_thousand_sets_of_images(test, n):
    """Of m images that only one of two equal attacks turns, each is either's by a fair coin: all cases summed up."""
    for m in range(1, n + 1):
        often = sum(comb(m, k) for k in range(m + 1) if test(*pair(n, k, m - k)).p <= ERROR) / 2**m
        assert often <= ERROR, m


def test_what_is_rare_fails_at_most_once_in_a_thousand_sets_of_images():
    for n in (16, 64, 128):
        worst = next(k for k in range(n + 1) if beyond(k, n, STRAY) <= ERROR)
        assert sum(comb(n, k) * STRAY**k * (1 - STRAY) ** (n - k) for k in range(worst, n + 1)) <= ERROR
        assert not rare("c", {"a": worst - 1}, n, share=STRAY, what="are odd", means="m").failed
        assert rare("c", {"a": worst}, n, share=STRAY, what="are odd", means="m").failed


SIZES = 16, 22, 31, 43, 49, 61
"""Numbers of images; without the correction four comparisons fail too often at each, two at 43, 49 and 61."""


def curve_of(counts, m):
    """Attacks at five sizes, and m images for each pair of neighbours that fall to all sizes up to the smaller one, so
    many, or from the larger one on: what is compared of one pair is independent of the others."""
    curve = [torch.ones(4 * m, dtype=torch.bool) for _ in range(5)]
    for i, count in enumerate(counts):
        for size, stands in enumerate(curve):
            smaller, larger = slice(i * m, i * m + count), slice(i * m + count, (i + 1) * m)
            stands[smaller if size <= i else larger] = False
    return [Tried(f"{i} ε", stands) for i, stands in enumerate(curve)]


@pytest.mark.parametrize("m", SIZES)
def test_a_curve_of_four_equal_steps_fails_at_most_once_in_a_thousand_sets_of_images(m):
    """Each image of a pair is turned by the smaller size alone, or by the larger one, by a fair coin."""

    def fails(k):
        return not_growing("c", curve_of((m // 2, k, m // 2, m // 2), m), count=m, means="m").failed

    most = next(k for k in range(m, -1, -1) if not fails(k))
    assert most < m
    one = sum(comb(m, k) for k in range(most + 1, m + 1)) / 2**m
    assert 1 - (1 - one) ** 4 <= ERROR


@pytest.mark.parametrize("m", SIZES)
def test_two_equal_losses_fail_at_most_once_in_a_thousand_sets_of_images(m):
    def fails(k):
        one, two = pair(m, k, m - k)
        return equally_useful("c", Tried("one", one), Tried("two", two), count=m).failed

    assert sum(comb(m, k) for k in range(m + 1) if fails(k)) / 2**m <= ERROR


@pytest.mark.parametrize("m", SIZES)
def test_random_signs_as_strong_as_attacks_fail_half_as_often(m):
    """The check fails by another comparison too, which has the other half."""

    def fails(k):
        white, noise = pair(m, k, m - k)
        return _random_sign(Tried("noise", noise), Tried("white-box", white), m).failed

    assert sum(comb(m, k) for k in range(m + 1) if fails(k)) / 2**m <= ERROR / 2


@pytest.mark.parametrize("n", [40, 72, 108, 184])
def test_two_counts_of_what_is_rare_fail_at_most_once_in_a_thousand_sets_of_images(n):
    """The two are independent of each other here; each case has the probability that is accepted."""

    def fails(k):
        return rare("c", {"a": 0, "b": k}, n, share=STRAY, what="are odd", means="m").failed

    worst = next(k for k in range(n + 1) if fails(k))
    one = sum(comb(n, k) * STRAY**k * (1 - STRAY) ** (n - k) for k in range(worst, n + 1))
    assert 1 - (1 - one) ** 2 <= ERROR


def test_the_p_of_several_comparisons_is_the_smallest_times_their_number():
    assert of_several(0.5) == 0.5 and of_several(0.2, 0.001, 0.9) == 0.003 and of_several(0.7, 0.8) == 1.0
    check = not_growing("c", curve_of((20, 12, 10, 10), 20), count=80, means="m")
    assert check.p == pytest.approx(4 * sum(comb(20, k) for k in range(20, 21)) / 2**20) and check.failed


def test_least_is_the_fewest_images_that_a_comparison_can_fail_on():
    assert compared(*pair(LEAST, LEAST, 0)).p <= ERROR < compared(*pair(LEAST - 1, LEAST - 1, 0)).p


def test_a_few_images_of_few_are_chance():
    """Five points more and an image: of 32 images three were enough to fail; the guide's LeNet-5 was caught by it."""
    for only in (3, 6):
        one, two = Tried("APGD-CE", pair(32, only, 0, 10)[0]), Tried("APGD-DLR", pair(32, only, 0, 10)[1])
        assert not equally_useful("losses", one, two, count=32).failed
        assert not at_least_as_strong("black-box", one, two, count=32, means="m").failed
        assert not not_growing("eps-curve", [two, one], count=32, means="m").failed


def test_a_trifle_on_many_images_is_no_failure_though_no_chance_either():
    """One in a hundred images, always in one direction: McNemar's test is sure of it, and it means nothing."""
    this, other = pair(5000, 50, 0)
    assert beyond(50, 50, 0.5) < 1e-9 and compared(this, other).p > ERROR
    assert compared(*pair(5000, int(5000 * MARGIN) + 60, 0)).p <= ERROR


def test_the_sentence_says_which_loss_is_weaker_by_how_much_and_on_how_many_images():
    weak, strong = pair(60, 45, 1, 2)
    for first, second in (("APGD-CE", "APGD-DLR"), ("APGD-DLR", "APGD-CE")):
        check = equally_useful("losses", Tried(first, weak), Tried(second, strong), count=80)
        assert check.failed and check.measured[first] == 57 / 80 and check.measured[second] == 13 / 80
        assert check.measured[f"only {second} turns"] == 45 and check.measured[f"only {first} turns"] == 1
        assert f"{first} 71.2 %" in check.figures and f"only {second} turns 45" in check.figures
        assert check.reason == (
            f"{first} misses 45 of the 47 images that {second} turns (of 60), 1 the other way "
            "round: the gradient of its "
            "loss misleads"
        )
        other = equally_useful("losses", Tried(second, strong), Tried(first, weak), count=80)
        assert other.reason == check.reason and other.p == check.p


def test_a_loss_that_misses_a_third_is_weaker_and_not_masked():
    """A network that is trained for one epoch: the cross-entropy turns 26 of 62, the other loss 37."""
    one, two = pair(620, 130, 30, 240)
    assert compared(one, two).p <= ERROR < missed(one, two).p


def test_other_sentences():
    weak, strong = pair(50, 20, 0, 5)
    check = at_least_as_strong(
        "black-box", Tried("white-box", weak), Tried("Square", strong), count=50, means="why"
    )
    assert check.failed and check.reason == (
        "white-box is weaker than Square: 20 of 50 images stand the first and fall to the "
        "second, 0 the other way round: why"
    )
    curve = [Tried("1 ε", strong), Tried("2 ε", weak), Tried("4 ε", stands(50, range(50)))]
    check = not_growing("eps-curve", curve, count=50, means="why")
    assert check.failed and check.reason.startswith("2 ε is weaker than 1 ε: 20 of 50 images")
    assert not not_growing("eps-curve", curve[1:], count=50, means="why").failed
    odd = rare(
        "zero-gradients", {"ce": 40, "margin": 0}, 50, share=STRAY, what="have no gradient", means="why"
    )
    assert (
        odd.failed
        and odd.reason == "40 of 50 images have no gradient (ce): why"
        and odd.measured["ce"] == 0.8
    )
