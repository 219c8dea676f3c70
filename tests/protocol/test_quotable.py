"""The sentence on what stronger attacks leave of KAP's PGD figures: made of the runs, and silent on none that lacks."""

import pytest

from experiments.quotable import quotable
from surgeon.protocol import Measured, Ran, load_protocol, tabulated
from surgeon.results.statistics import wilson

pytest.importorskip("scipy")

IMAGES = 200


def ran(row, seed, **right):
    columns = {}
    for name, k in right.items():
        bits = "1" * k + "0" * (IMAGES - k)
        columns[name.replace("_", " ")] = Measured(share=wilson(k, IMAGES), right=bits)
    return Ran(row=row, seed=seed, settings="s", tested="t", columns=columns, reliable=True, headline=True)


def table(*runs, name="kap/table1", budget="small"):
    return tabulated(load_protocol(name), budget, runs)


KAP = [ran("KAP(σ=0.1)", s, clean=150, PGD=120 + 4 * s, AutoAttack=80, knowing_the_cut=60) for s in (0, 1)]
NOISE = ran("NT(σ=0.1)", 0, clean=140, PGD=70, AutoAttack=60, knowing_the_cut=60)


def test_without_runs_nothing_is_said():
    for found in ([], [table(NOISE)], [table(*KAP, budget="smoke")]):
        assert quotable(found) == "Not measured yet: no run of `kap/table1` has the row KAP(σ=0.1)."


def test_each_figure_is_of_the_runs_with_its_paired_difference():
    text = quotable([table(*KAP, NOISE)])
    assert "Of 200 CIFAR-10 test images" in text and "L2, ε = 0.25" in text and "2 seeds" in text
    assert "gets **75.0 %** ± 0.0 right, and **61.0 %** ± 1.4 under PGD" in text
    assert "AutoAttack leaves **40.0 %** ± 0.0 (−21.0 points [" in text
    assert "knows the surgery **30.0 %** ± 0.0 (−31.0 points [" in text
    assert "keeps **30.0 %** under that attacker (KAP less that: +0.0 points [" in text
    assert "black-box attacks **not measured yet** (Square) and **not measured yet** (transferred)" in text


def test_black_box_attacks_are_those_of_the_table_where_no_table_of_transfers_was_run():
    text = quotable([table(ran("KAP(σ=0.1)", 0, clean=150, PGD=120, Square=90, from_NT=140))])
    assert "black-box attacks **45.0 %** (Square) and **70.0 %** (transferred from NT)" in text
    text = quotable([table(ran("KAP(σ=0.1)", 0, clean=150, PGD=120), budget="gpu")])
    assert "**not measured at this budget** (Square)" in text


def test_a_figure_that_no_run_has_is_said_to_be_missing():
    text = quotable([table(ran("KAP(σ=0.1)", 0, clean=150, PGD=120))])
    assert "AutoAttack leaves **not measured yet**, black-box" in text and "1 seed:" in text
    assert "alone keeps **not measured yet** under that attacker." in text


def test_the_largest_budget_counts_and_transfers_of_the_same():
    full = ran("KAP(σ=0.1)", 0, clean=160, PGD=126, AutoAttack=39, Square=40, knowing_the_cut=30)
    moved = ran("KAP(σ=0.1)", 0, from_NT=150)
    moved = moved.model_copy(
        update={"columns": {**moved.columns, "from AT-ES": Measured(share=wilson(130, IMAGES))}}
    )
    others = table(moved, name="kap/tableA3", budget="paper")
    text = quotable([table(*KAP), table(full, budget="paper"), others])
    assert "L2, ε = 1)" in text and "`resnet18`" in text
    assert "black-box attacks **20.0 %** (Square) and **65.0 %** (transferred from AT-ES)" in text
