"""What a summary says of attacks by tests and distances: one step against many, and the worst case at a size."""

import pytest

from surgeon.evaluation import Attack, Outcome, summarize
from tests.evaluation.test_summary import outcome, row

pytest.importorskip("scipy")


def test_one_image_more_under_one_step_than_under_many_is_chance():
    attacks = [
        Attack(name="fgsm", kind="fgsm", eps=0.1, cascade=False),
        Attack(name="pgd", kind="own-pgd", eps=0.1, cascade=False),
    ]
    for fgsm, said in ((45, False), (53, False), (54, True)):  # 10 against none: p = 0.001
        found = summarize(outcome(attacks, [set(range(fgsm)), set(range(44))], n=100)).findings
        assert ("one-step-stronger" in {f.code for f in found}) == said


def test_smallest_distances_alone_give_the_worst_case_at_the_size_that_was_asked_for():
    fmn = Attack(name="fmn", kind="fmn", norm="l2", eps=None, cascade=False)
    rows = [row(i, "none", i == 9) for i in range(10)]
    rows += [row(i, "fmn", True, norm="l2", eps=None, l2=0.1 * (i + 1)) for i in range(9)]
    found = summarize(Outcome(tuple(rows), (fmn,)), eps=0.45)
    assert (found.main.eps, found.worst.k, found.lowest.k) == (0.45, 5, 5)
    assert {(w.eps, w.share.k) for w in found.worsts} == {(None, 0), (0.45, 5)}
    assert not any(f.code == "stronger-elsewhere" for f in found.findings)
