"""A protocol is run, killed, gone on with elsewhere, and its claims are answered by what was measured."""

import json

import pytest

from surgeon.errors import ArgumentError, ArtifactError, SurgeonError
from surgeon.protocol import Claim, Column, Measured, Protocol, Ran, measured, tabulated
from surgeon.protocol.markdown import page
from surgeon.protocol.reproduction import answered
from surgeon.results.statistics import wilson

pytest.importorskip("timm")
pytest.importorskip("accelerate")
pytest.importorskip("sklearn")
pytest.importorskip("torchattacks")

PROTOCOL = Protocol.model_validate(
    {
        "name": "own",
        "title": "t",
        "paper": "p",
        "place": "Table 1",
        "model": "zoo/shallow1",
        "model_args": {"in_chans": 1, "width": 9},
        "data": "digits",
        "training": {"epochs": 1, "batch_size": 256},
        "evaluation": {"suite": "basic", "attacks": ["fgsm"], "eps": 0.02, "samples": 40, "adaptive": False},
        "columns": {"clean": {"of": "clean"}, "FGSM": {"of": "attack", "attack": "fgsm", "error": True}},
        "rows": {"stock": {"paper": {"clean": 90.0}}, "kap": {"recipes": ["kap"], "note": "n"}},
        "claims": [{"text": "it is better", "row": "kap", "against": "stock", "column": "clean"}],
        "budgets": {"smoke": {"seeds": 2, "note": "small"}},
    }
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    from surgeon.pipeline import reproduce

    folder = tmp_path_factory.mktemp("reproduced") / "own"
    found = reproduce(PROTOCOL, folder, budget="smoke", seeds=1)
    return folder, found


def test_each_row_is_a_run_and_what_came_of_it_is_the_evaluations(done):
    from surgeon.evaluation import read_assessment

    folder, found = done
    assert [(r.row, r.seed) for r in found.runs] == [("kap", 0), ("stock", 0)] and not found.finished
    for row in ("stock", "kap"):
        seen = read_assessment(folder / "work" / row / "0" / "evaluation")
        cells = found.rows[row]
        assert cells["clean"].measured == (100 * seen.summary.clean.value,)
        assert cells["FGSM"].measured == (pytest.approx(100 - 100 * seen.summary.robust["fgsm"].value),)
        assert cells["clean"].images == 40
    assert found.rows["stock"]["clean"].paper == 90.0


def test_the_file_of_the_runs_is_enough_to_go_on_elsewhere(done, tmp_path, monkeypatch):
    from surgeon.pipeline import reproduce, reproducing

    folder, _ = done
    results = tmp_path / "results.json"
    results.write_text((folder / "runs.json").read_text())
    asked = []

    def counted(*, folder, seed, **given):
        asked.append((folder.parts[-2], seed))
        raise ArgumentError("enough")

    monkeypatch.setattr(reproducing, "run", counted)
    with pytest.raises(ArgumentError, match="enough"):
        reproduce(PROTOCOL, tmp_path / "elsewhere", budget="smoke", results=results)
    assert asked == [("stock", 1)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"recipes": [{"surgery": [{"op": "kap", "kernel_size": 99}]}]}, "kernel_size=99 exceeds"),
        ({"training": {"optimizer": "sdg"}}, "sdg"),
        ({"training": {"pad": 100}}, "pad=100"),
        ({"training": {"milestones": [3]}}, "multistep takes milestones"),
        ({"model": "zoo/shalow1"}, "shallow1"),
    ],
)
def test_a_row_that_would_be_refused_is_told_before_another_is_trained(row, said, tmp_path, monkeypatch):
    from surgeon.pipeline import reproduce, reproducing

    monkeypatch.setattr(reproducing, "run", lambda **given: pytest.fail("a row was trained"))
    content = PROTOCOL.model_dump()
    changed = Protocol.model_validate({**content, "rows": {**content["rows"], "last": {**row, "note": "n"}}})
    with pytest.raises(SurgeonError, match=f"^own: row 'last' at the budget smoke: .*{said}"):
        reproduce(changed, tmp_path / "out", budget="smoke")
    assert not (tmp_path / "out").exists()


def test_runs_of_other_settings_are_refused(done, tmp_path):
    from surgeon.pipeline import reproduce

    folder, _ = done
    changed = PROTOCOL.model_copy(update={"training": {"epochs": 2}})
    with pytest.raises(ArtifactError, match="other settings"):
        reproduce(changed, tmp_path / "new", budget="smoke", results=folder / "runs.json")
    with pytest.raises(ArtifactError, match="runs of own at smoke"):
        other = PROTOCOL.model_copy(update={"name": "other"})
        reproduce(other, tmp_path / "new2", budget="smoke", results=folder / "runs.json")


def test_a_run_that_was_begun_with_other_settings_is_one_line_that_names_it(done, tmp_path):
    import shutil

    from surgeon.pipeline import reproduce

    folder, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "runs.json").unlink()
    changed = PROTOCOL.model_copy(update={"training": {"epochs": 2, "batch_size": 256}})
    with pytest.raises(ArtifactError, match=r"stock.0 holds a run with other settings \(.*training") as said:
        reproduce(changed, copy, budget="smoke", seeds=1)
    assert "\n" not in str(said.value)


def test_a_damaged_file_of_runs_is_one_line(done, tmp_path):
    from surgeon.pipeline.runs_of_protocol import read_runs

    folder, _ = done
    content = json.loads((folder / "runs.json").read_text())
    content["runs"][0]["columns"]["clean"]["share"]["k"] += 1
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(content))
    with pytest.raises(ArtifactError):
        read_runs(bad, PROTOCOL, "smoke")


def test_rows_and_seeds_that_a_budget_has_not_are_refused(tmp_path):
    from surgeon.pipeline import reproduce

    for given, said in (
        ({"budget": "gpu"}, "has no budget 'gpu'"),
        ({"budget": "smoke", "rows": ["no"]}, "no row 'no'"),
        ({"budget": "smoke", "seeds": 3}, "1 to 2"),
    ):
        with pytest.raises(ArgumentError, match=said):
            reproduce(PROTOCOL, tmp_path / "no", **given)
    assert not (tmp_path / "no").exists()


def ran(row, seed, bits, tested="t", labelled=""):
    share = Measured(share=wilson(bits.count("1"), len(bits)), right=bits)
    return Ran(
        row=row,
        seed=seed,
        settings="s",
        tested=tested,
        labelled=labelled,
        columns={"clean": share},
        reliable=True,
        headline=True,
    )


CLAIM = Claim(text="it is better", row="kap", against="stock", column="clean")
MANY = 400


@pytest.mark.parametrize(
    "kap, stock, margin, answer",
    [
        ("1" * 300 + "0" * 100, "1" * 200 + "0" * 200, 0, "holds"),
        ("1" * 200 + "0" * 200, "1" * 300 + "0" * 100, 0, "does not hold"),
        ("1" * 201 + "0" * 199, "1" * 200 + "0" * 200, 0, "not decided at this budget"),
        ("1" * 300 + "0" * 100, "1" * 200 + "0" * 200, 40, "does not hold"),  # 25 points, 40 are claimed
    ],
)
def test_a_claim_is_answered_by_the_whole_interval(kap, stock, margin, answer):
    claim = CLAIM.model_copy(update={"margin": float(margin)})
    found = answered(claim, [r for s in (0, 1) for r in (ran("kap", s, kap), ran("stock", s, stock))])
    assert found.answer == answer and found.difference is not None
    assert found.difference.mean == pytest.approx((kap.count("1") - stock.count("1")) / MANY)


def test_two_rows_of_one_seed_decide_nothing_and_two_columns_of_a_row_do():
    better, worse = "1" * 300 + "0" * 100, "1" * 200 + "0" * 200
    found = answered(CLAIM, [ran("kap", 0, better), ran("stock", 0, worse)])
    assert found.answer == "not decided at this budget" and found.difference.low > 0
    one = ran("kap", 0, better)
    one = one.model_copy(update={"columns": {**one.columns, "noisy": ran("kap", 0, worse).columns["clean"]}})
    itself = Claim(text="noise costs", row="kap", against="kap", column="clean", than="noisy")
    assert answered(itself, [one]).answer == "holds"


def test_networks_that_were_tested_on_other_images_are_not_compared():
    found = answered(CLAIM, [ran("kap", 0, "1" * MANY), ran("stock", 0, "0" * MANY, tested="other")])
    assert found.answer == "not decided at this budget" and found.difference is None
    for labels, pairs in ((("a", "b"), 0), (("a", "a"), 1), (("", "b"), 1)):
        found = answered(
            CLAIM, [ran(r, 0, "1" * MANY, labelled=y) for r, y in zip(("kap", "stock"), labels, strict=True)]
        )
        assert (found.difference is not None) == pairs


def test_seeds_that_disagree_do_not_decide():
    better, worse = "1" * 300 + "0" * 100, "1" * 100 + "0" * 300
    runs = [ran("kap", 0, better), ran("stock", 0, worse), ran("kap", 1, worse), ran("stock", 1, better)]
    assert answered(CLAIM, runs).answer == "not decided at this budget"


def test_an_attack_on_what_others_left_has_no_figure_of_its_own():
    def row(example, attack, success):
        return dict(
            example=example, attack=attack, success=success, group="", norm="l2", eps=1.0, seed=0, source=None
        )

    rows = [row(e, "none", False) for e in range(3)] + [row(e, "first", e == 0) for e in range(3)]
    rows += [row(e, "second", False) for e in (1, 2)]
    assert measured(Column(of="attack", attack="first"), None, rows).right == "011"
    with pytest.raises(ArgumentError, match="left standing"):
        measured(Column(of="attack", attack="second"), None, rows)
    with pytest.raises(ArgumentError, match="first l2 1, second l2 1"):
        measured(Column(of="attack", attack="third"), None, rows)


def test_the_page_has_both_figures_and_each_answer():
    runs = [ran("kap", s, "1" * 300 + "0" * 100) for s in (0, 1)] + [ran("stock", 0, "1" * 200 + "0" * 200)]
    protocol = PROTOCOL.model_copy(update={"columns": {"clean": Column(of="clean")}})
    text = page(tabulated(protocol, "smoke", runs))
    assert "| stock | 90 | 50.0 |" in text and "| kap | – | 75.0 ± 0.0 |" in text
    decided = "- **not decided at this budget** — it is better; clean, kap less stock: +25.0 points"
    assert decided in text and "one seed" in text
    assert "3 of 4 runs are there" in text and "- kap: n" in text
