"""What verdicts add up to: worst cases, intervals, seeds, headlines and why there is none."""

import pytest
import torch

from surgeon.edits import Traits
from surgeon.errors import DataError, SurgeonError
from surgeon.evaluation import (
    Attack,
    Outcome,
    Summary,
    Verdict,
    mcnemar,
    noise_accuracy,
    noise_table,
    suite,
    summarize,
    wilson,
)
from surgeon.evaluation.suites import paper_of, size_of
from surgeon.recipe import Evaluation
from surgeon.results.statistics import clopper_pearson_low
from surgeon.results.threat import main_threat
from surgeon.results.verdict import standing

pytest.importorskip("scipy")


def row(example, attack, success, **more):
    given = dict(
        image="",
        label=0,
        clean=int(success and attack == "none"),
        margin=1.0,
        prediction=int(success),
        votes=float(not success),
    )
    return Verdict(example=example, attack=attack, success=success, **{**given, **more})


def outcome(attacks, turned, n=20, wrong=(), draws=1):
    """turned: which examples each attack turns."""
    rows = [row(i, "none", i in wrong) for i in range(n)]
    for a, fallen in zip(attacks, turned, strict=True):
        rows += [
            row(i, a.name, i in fallen, norm=a.norm, eps=a.eps, seed=a.seed, group=a.group, source=a.source)
            for i in range(n)
            if i not in wrong
        ]
    return Outcome(tuple(rows), tuple(attacks), draws)


def test_the_worst_case_is_taken_image_by_image():
    attacks = [Attack(name=n, kind="apgd", eps=0.1, group="standard", cascade=False) for n in "ab"]
    found = summarize(outcome(attacks, [{1, 2, 3}, {3, 4}], wrong={0}))
    assert (found.clean.k, found.robust["a"].k, found.robust["b"].k, found.worst.k) == (19, 16, 17, 15)
    assert found.rows[0].of_right == pytest.approx(16 / 19)
    assert found.worsts[0].share == found.worst


def test_what_cascades_counts_what_fell_before():
    attacks = [Attack(name=n, kind="apgd", eps=0.1, group="standard") for n in "ab"]
    one, two = summarize(outcome(attacks, [{1, 2}, {4}])).rows
    assert (one.shares[0].k, two.shares[0].k) == (18, 17)


def test_other_sizes_are_other_threats_and_seeds_have_a_mean_and_a_deviation():
    attacks = [
        Attack(name="fgsm", kind="fgsm", eps=e, seed=s, group="paper", cascade=False)
        for s in (0, 1, 2)
        for e in (0.1, 0.2)
    ]
    found = summarize(outcome(attacks, [{1}, {1, 2}, {1, 3}, {2}, {1, 2, 3}, {5, 6}]))
    small = next(r for r in found.rows if r.eps == 0.1)
    assert small.seeds == (0, 1, 2) and [s.k for s in small.shares] == [19, 18, 17]
    assert small.mean == pytest.approx(0.9) and small.std == pytest.approx(0.05)
    assert len(found.worsts) == 6


def test_headlines_and_their_refusals():
    attacks = [Attack(name="a", kind="apgd", eps=8 / 255, group="standard")]
    fine = summarize(outcome(attacks, [{1}]))
    assert (
        fine.headline.share.k == 19
        and "linf 8/255" in fine.headline.text
        and "fewer than the protocol's 1000" in fine.headline.text
    )
    assert (
        "upper bound"
        in summarize(outcome([attacks[0].model_copy(update={"group": "quick"})], [{1}])).headline.text
    )
    assert summarize(outcome(attacks, [{1}]), failed=["gradients vanish"]).refused == (
        "not reliable: gradients vanish",
    )
    assert summarize(outcome(attacks, [{1}]), random=True).headline is None
    eot = [a.model_copy(update={"eot": 20}) for a in attacks]
    assert "majority of 40 draws" in summarize(outcome(eot, [{1}], draws=40), random=True).headline.text
    basic = [a.model_copy(update={"group": "basic"}) for a in attacks]
    assert "not a protocol" in summarize(outcome(basic, [{1}])).refused[0]
    missing = Outcome(
        fine_outcome := outcome(attacks, [{1}]).verdicts, tuple(attacks), 1, ("a linf 8/255, block 3",)
    )
    assert len(fine_outcome) == 40
    assert summarize(missing).refused == (
        "incomplete: 1 blocks are missing, the first is a linf 8/255, block 3",
    )
    with pytest.raises(SurgeonError, match="no verdicts"):
        summarize(Outcome((), ()))


def test_findings_read_the_traits_and_the_numbers():
    attacks = [
        Attack(name="fgsm", kind="fgsm", eps=0.1, cascade=False),
        Attack(name="pgd", kind="own-pgd", eps=0.1, cascade=False),
    ]
    codes = {
        f.code
        for f in summarize(
            outcome(attacks, [set(range(14)), {1, 2}]), Traits(masked=True, stochastic="always")
        ).findings
    }
    assert codes == {"upper-bound", "one-step-stronger", "masked", "stochastic"}


@pytest.mark.parametrize("group", ["", "basic", "paper", "transfer", "mine"])
def test_attacks_of_no_suite_and_none_at_all_have_no_headline(group):
    by_hand = [Attack(name="fgsm", kind="fgsm", eps=e, group=group) for e in (0.1, 0.3)]
    for attacks, why in ((by_hand, "named by hand are not a protocol"), ([], "no attacks were made")):
        found = summarize(outcome(attacks, [{1}] * len(attacks)))
        assert found.headline is None and any(why in reason for reason in found.refused)
        assert f"no number to quote: {found.refused[0]}" in found._repr_html_()


def test_the_kap_papers_table_1_is_told_apart():
    """RN18-KAP: PGD 63.07, AutoAttack 19.44, Square 20.1; an adversarially trained one 38.14, 36.75, 56.02."""

    def of(pgd, square, worst):
        paper = [
            Attack(name="pgd-100", kind="own-pgd", norm="l2", eps=1.0, group="paper", cascade=False),
            Attack(name="square", kind="square", norm="l2", eps=1.0, group="paper", cascade=False),
            Attack(name="apgd-t", kind="apgdt", norm="l2", eps=1.0, group="standard"),
        ]
        found = summarize(outcome(paper, [set(range(1000 - k)) for k in (pgd, square, worst)], n=1000))
        return {f.code for f in found.findings}

    assert {"pgd-above-worst", "black-box-as-strong"} <= of(631, 201, 194)
    assert not {"pgd-above-worst", "black-box-as-strong"} & of(381, 560, 368)


def test_one_step_from_a_source_may_transfer_better_than_many():
    attacks = [
        Attack(name="fgsm", kind="fgsm", eps=0.1, cascade=False, source="s"),
        Attack(name="pgd", kind="own-pgd", eps=0.1, cascade=False, source="s"),
    ]
    codes = {f.code for f in summarize(outcome(attacks, [set(range(14)), {1, 2}])).findings}
    assert "one-step-stronger" not in codes


def test_votes_are_the_lowest_so_far_over_all_images():
    attacks = [Attack(name=n, kind="apgd", eps=0.1, eot=2, group="standard") for n in "ab"]
    rows = [row(i, "none", False, votes=1.0) for i in range(4)]
    own = {"norm": "linf", "eps": 0.1, "group": "standard"}
    rows += [row(0, "a", True, votes=0.2, **own), row(1, "a", False, votes=0.6, **own)]
    rows += [row(i, "a", False, votes=1.0, **own) for i in (2, 3)]
    rows += [
        row(1, "b", False, votes=0.8, **own),
        row(2, "b", True, votes=0.4, **own),
        row(3, "b", False, votes=1.0, **own),
    ]
    one, two = summarize(Outcome(tuple(rows), tuple(attacks), 5)).rows
    assert one.draws == pytest.approx({"mean": 2.8 / 4, "majority": 3 / 4, "all": 2 / 4})
    assert two.draws == pytest.approx({"mean": 2.2 / 4, "majority": 2 / 4, "all": 1 / 4})


def test_intervals_match_their_formulas():
    found = wilson(8, 10)
    z, n, p = 1.959964, 10, 0.8
    centre, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5,
    )
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    # P(X ≥ k | low) = α
    low = clopper_pearson_low(990, 1000, 0.001)
    from math import comb

    above = sum(comb(1000, k) * low**k * (1 - low) ** (1000 - k) for k in range(990, 1001))
    assert above == pytest.approx(0.001, rel=1e-6)
    assert clopper_pearson_low(0, 10, 0.05) == 0.0
    assert clopper_pearson_low(100, 100, 0.001) == pytest.approx(0.001 ** (1 / 100))


def test_mcnemar_against_the_binomial():
    first, second = (
        [True] * 30 + [False] * 10 + [True] * 12 + [False] * 2,
        [True] * 30 + [False] * 10 + [False] * 12 + [True] * 2,
    )
    found = mcnemar(first, second)
    from math import comb

    p = 2 * sum(comb(14, k) for k in range(3)) / 2**14
    assert (found.only_first, found.only_second) == (12, 2) and found.p == pytest.approx(p)
    assert found.difference == pytest.approx(-10 / 54) and found.low < found.difference < found.high < 0
    assert mcnemar([True], [True]).p == 1.0
    with pytest.raises(SurgeonError, match="2 and 1 images cannot be compared"):
        mcnemar([True, False], [True])


def test_suites_are_what_they_say():
    standard = suite(Evaluation(suite="standard"))
    assert [(a.kind, a.steps, a.targets) for a in standard] == [
        ("apgd", 100, None),
        ("apgdt", 100, 9),
        ("fab", 100, 9),
        ("square", 5000, None),
    ]
    assert all(a.cascade and a.eps == 8 / 255 and a.restarts == 1 for a in standard)
    quick = suite(Evaluation(suite="quick", norm="l2", eps=1.0))
    assert [(a.name, a.steps, a.targets) for a in quick] == [
        ("apgd-ce", 20, None),
        ("apgd-dlr", 20, None),
        ("apgd-t", 20, 3),
        ("square", 200, None),
    ]
    assert {a.norm for a in quick} == {"l2"}
    assert suite(Evaluation(suite="standard"), classes=5)[1].targets == 4
    random = suite(Evaluation(suite="standard"), random=True)
    assert all(a.eot == 20 and not a.early_stop for a in random) and len(random) == 3
    with_source = suite(Evaluation(suite="quick"), sources=["one", "two"])
    assert [a.source for a in with_source] == [None] * 4 + ["one", "two"]


@pytest.mark.parametrize(
    ("operations", "paper", "count"),
    [
        (["kap", "noise"], "kap", 7),
        (["adversarial-noise"], "anl", 5),
        (["weight-map"], "weight-map", 13),
        (["defective"], "defective", 4),
    ],
)
def test_papers_suites_follow_the_surgery(operations, paper, count):
    assert paper_of(operations).name == paper
    attacks = suite(Evaluation(suite="paper"), operations=operations)
    own = [a for a in attacks if a.group == "paper"]
    strong = [a for a in attacks if a.group == "standard"]
    again = [a for a in own if a.draws]  # what draws nothing is made once
    assert [a.seed for a in own].count(0) == count and len(own) + len(strong) == len(attacks)
    assert [a.seed for a in own if a.seed] == [s for s in (1, 2) for a in again if not a.seed]
    assert len(again) == {"kap": 21, "weight-map": 18}.get(paper, 0)
    random = suite(Evaluation(suite="paper"), operations=operations, random=True)
    assert len([a for a in random if a.group == "paper"]) == 3 * count
    norm, eps = {"kap": ("l2", 1.0), "defective": ("linf", 16 / 255)}.get(paper, ("linf", 8 / 255))
    assert main_threat(attacks) == ("standard", norm, eps, 0)
    assert [a.seed for a in strong if a.eps == eps] == [s for s in (0, 1, 2) for _ in range(4)]
    if paper == "defective":
        pgd = next(a for a in attacks if a.name == "pgd-20")
        assert (pgd.eps, pgd.step_size, pgd.steps, pgd.random_start) == (16 / 255, 1 / 255, 20, False)
    if paper == "kap":
        sweep = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0]
        assert [a.eps for a in own[:6]] == sweep and own[0].step_size == 4 / 255
        assert {a.eps for a in strong} == set(sweep)  # Fig. 5 is AutoAttack's
    if paper == "anl":
        assert [round(a.eps * 255) for a in attacks[:5]] == [0, 2, 4, 6, 8]


def test_sizes_follow_the_settings_then_the_paper_then_the_usual():
    def size(operations=(), **settings):
        return size_of(Evaluation(**settings), operations)

    assert size(suite="standard") == ("linf", 8 / 255) and size(suite="quick", norm="l2") == ("l2", 0.5)
    assert size(suite="quick", eps=0.1) == ("linf", 0.1) and size(suite="quick", operations=["kap"]) == (
        "linf",
        8 / 255,
    )
    assert size(["kap"], suite="paper") == ("l2", 1.0) and size(["kap"], suite="paper", eps=2.0) == (
        "l2",
        2.0,
    )
    assert size(["kap"], suite="paper", norm="linf") == ("linf", 8 / 255)
    assert size(suite="paper", norm="linf", eps=0.1) == ("linf", 0.1)
    one = suite(Evaluation(norm="l2", eps=0.7, attacks=("fgsm", "pgd")))
    assert [(a.name, a.norm, a.eps, a.steps) for a in one] == [("fgm", "l2", 0.7, 1), ("pgd", "l2", 0.7, 20)]


def test_the_headline_is_of_one_threat_and_what_lowers_it_elsewhere_is_told():
    """Other seeds and sizes of the standard part count for themselves; another part of the same size is a finding."""
    given = {"norm": "l2", "cascade": False}
    attacks = [
        Attack(name="pgd-100", kind="own-pgd", eps=1.0, group="paper", **given),
        Attack(name="a", kind="apgd", eps=1.0, group="standard", **given),
        Attack(name="a", kind="apgd", eps=1.0, seed=1, group="standard", **given),
        Attack(name="a", kind="apgd", eps=4.0, group="standard", **given),
    ]
    found = summarize(outcome(attacks, [{1, 2}, {3}, {4}, set(range(20))]))
    assert found.main == ("standard", "l2", 1.0, 0)
    assert (found.worst.k, found.headline.share.k, found.lowest.k) == (19, 19, 16)
    assert "other attacks of the same size turn 3 more images: with them 80.0 % stand, not 95.0 %" in {
        f.text for f in found.findings
    }
    assert Summary.model_validate_json(found.model_dump_json()) == found
    clean, worst = standing(
        outcome(attacks, [{1, 2}, {3}, {4}, set(range(20))], wrong={9}).rows(), found.main
    )
    assert [i for i, right in worst.items() if not right] == [3, 9] and sum(clean.values()) == 19


def test_a_network_at_chance_has_no_headline():
    """6 of 32 images right, 3 of them under attack, were `9.4 % upper bound`."""
    quick = Attack(name="apgd-ce", kind="apgd", eps=0.1, group="quick")
    few = summarize(outcome([quick], [set(range(26, 29))], wrong=set(range(26)), n=32), classes=10)
    assert few.clean.k == 6 and few.worst.k == 3 and few.headline is None
    assert few.refused == (
        "the network is hardly trained: 6 of 32 images are right without any attack [8.9 %, "
        "35.3 %], and guessing among 10 "
        "classes gives 10.0 %",
    )
    for group in ("basic", "standard", "quick"):
        attack = quick.model_copy(update={"group": group})
        assert (
            "hardly trained"
            in summarize(outcome([attack], [{30}], wrong=set(range(26)), n=32), classes=10).refused[0]
        )
    more = summarize(outcome([quick], [set(range(26, 29))], wrong=set(range(20)), n=32), classes=10)
    assert more.headline is not None and not more.refused
    assert summarize(outcome([quick], [set()], wrong=set(range(20)), n=32), classes=2).headline is None


def test_a_paper_must_be_chosen_where_the_surgery_does_not_say():
    with pytest.raises(
        SurgeonError, match="no paper's method in it; say whose tables are wanted: anl, defective, kap"
    ):
        suite(Evaluation(suite="paper"))
    with pytest.raises(SurgeonError, match="2 papers' methods"):
        suite(Evaluation(suite="paper"), operations=["kap", "adversarial-noise"])
    assert suite(Evaluation(suite="paper", paper="anl"))[0].kind == "fgsm"


def test_noise_curves_fall(trained):
    model, (x, y) = trained
    for kind in ("gaussian", "uniform"):
        found = noise_accuracy(model, x, y, [0.0, 0.3, 1.0], kind=kind)
        assert found[0] > found[2]
        assert found == noise_accuracy(model, x, y, [0.0, 0.3, 1.0], kind=kind)


def test_noise_accuracy_refuses_what_the_engine_refuses(trained):
    model, (x, y) = trained
    with pytest.raises(DataError, match="they look like 0–255"):
        noise_accuracy(model.model, x * 255, y, [0.1])
    with pytest.raises(DataError, match="96 images have 95 labels"):
        noise_accuracy(model, x, y[:-1], [0.1])
    with pytest.raises(DataError, match="there are no images"):
        noise_accuracy(model, x[:0], y[:0], [0.1])
    with pytest.raises(SurgeonError, match="draws=0 must be a whole number, 1 or more"):
        noise_accuracy(model, x, y, [0.1], draws=0)


def test_noise_at_inference_goes_where_it_is_said_to_go(trained):
    model, (x, y) = trained
    from surgeon.evaluation.attacks.pgd import pgd

    moved = pgd(model, x, y, eps=0.1, steps=10)
    rows = noise_table(model, moved, y, sigma=0.3)
    assert [(r.input_noise, r.activation_noise) for r in rows] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    with torch.no_grad():
        assert rows[0].share.k == int((model(moved).argmax(1) == y).sum())
    assert len({r.share.k for r in rows}) > 1
    assert not any(m._forward_hooks for m in model.modules())
