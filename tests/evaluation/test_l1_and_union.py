"""L1 as a threat, and the union of norms, in which an image must stand in all."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from surgeon.ball import direction, project, random_offset
from surgeon.errors import SurgeonError
from surgeon.evaluation import Attack, assess, diagnose, evaluate, suite, summarize
from surgeon.l1_ball import onto_l1_ball
from surgeon.recipe import Evaluation
from surgeon.results.notes import told_of_norms
from surgeon.results.threat import union_text
from surgeon.results.verdict import standing

pytest.importorskip("torchattacks")


def text_of(table):
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def slow(x, centre, eps):
    """The projection of one point by bisection on λ, in float64."""
    delta = x - centre
    room = np.where(delta > 0, 1 - centre, centre)

    def share(level):
        return np.minimum(np.maximum(np.abs(delta) - level, 0), room)

    if share(0).sum() <= eps:
        return centre + np.sign(delta) * share(0)
    low, high = 0.0, np.abs(delta).max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle).sum() > eps else (low, middle)
    return centre + np.sign(delta) * share(high)


@pytest.mark.parametrize("trial", range(60))
def test_the_projection_is_that_of_a_slow_reference(trial):
    draw = torch.Generator().manual_seed(trial)
    n, size, eps = 1 + trial, 10 ** (trial % 5 - 3.0), 10 ** (trial % 4 - 2.0)
    centre = torch.rand(4, n, generator=draw, dtype=torch.float64)
    x = centre + size * torch.randn(4, n, generator=draw, dtype=torch.float64)
    if trial % 3 == 0:  # pixels at the edge, and ties
        centre, x = centre.round(), (x * 4).round() / 4
    found = onto_l1_ball(x, centre, eps)
    for one, at, c in zip(found, x, centre, strict=True):
        assert np.allclose(one.numpy(), slow(at.numpy(), c.numpy(), eps), atol=1e-12, rtol=0)


def test_the_projection_stays_inside_and_uses_the_whole_ball():
    x, images = torch.rand(8, 3, 6, 6), torch.rand(8, 3, 6, 6)
    far = images + 3 * (x - 0.5)
    found = project(far, images, 5.0, "l1")
    length = (found.double() - images.double()).flatten(1).abs().sum(1)
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    # One after the other, the ball and then the box, would leave it shorter.
    assert torch.allclose(length, torch.full_like(length, 5.0), atol=1e-4)
    assert torch.equal(project(images, images, 5.0, "l1"), images)


def test_a_step_has_unit_length_and_a_start_lies_in_the_ball():
    gradient = torch.randn(4, 3, 10, 10)
    step = direction(gradient, "l1").flatten(1)
    assert torch.allclose(step.abs().sum(1), torch.ones(4)) and int((step != 0).sum()) == 4 * 3
    assert torch.equal(direction(torch.zeros(1, 1, 2, 2), "l1"), torch.zeros(1, 1, 2, 2))
    offset = random_offset((50, 1, 4, 4), 2.0, "l1", torch.Generator().manual_seed(0))
    assert (
        float(offset.flatten(1).abs().sum(1).max()) <= 2.0
        and float(offset.flatten(1).abs().sum(1).max()) > 1.5
    )


@pytest.fixture
def _adv_lib():
    from surgeon.errors import MissingPackageError
    from surgeon.evaluation.attacks.adv_lib import adv_lib

    try:
        adv_lib("attacks")
    except MissingPackageError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("_adv_lib")
def test_the_strong_attacks_in_l1_are_stronger_than_a_step_and_stay_in_the_ball(trained):
    model, (x, y) = trained
    kinds = {
        "step": dict(kind="own-pgd", steps=1, step_size=4.0, random_start=False),
        "apgd": dict(kind="apgd", steps=30),
        "largest": dict(kind="apgd", steps=30, early_stop=False),
        "apgdt": dict(kind="apgdt", steps=30, targets=3),
        "fab": dict(kind="fab", steps=30, targets=9),
        "pgd": dict(kind="own-pgd", steps=30, loss="margin"),
    }
    attacks = [Attack(name=n, norm="l1", eps=4.0, cascade=False, **k) for n, k in kinds.items()]
    outcome = evaluate(model, x, y, attacks)
    left = {r.attack: r.shares[0].k for r in summarize(outcome).rows}
    assert max(v.l1 for v in outcome) <= 4.0 + 2e-5
    for name in ("apgd", "largest", "apgdt", "fab", "pgd"):
        assert left[name] <= left["step"], left
    assert left["apgd"] < left["step"], left


def test_a_size_in_l1_beyond_all_images_is_refused(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    x, y = torch.rand(4, 1, 4, 4), torch.arange(4)
    text = "eps=17 in l1 is more than pixels can change: no two images of 1×4×4 pixels in .* farther apart than 16"
    for settings in (Evaluation(norm="l1", eps=17), Evaluation(norm="union", union={"l1": 17.0})):
        with pytest.raises(SurgeonError, match=text):
            assess(model, x, y, settings, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(SurgeonError, match="linf=8 of the union is more than pixels can change"):
        Evaluation(norm="union", union={"linf": 8.0})
    with pytest.raises(SurgeonError, match="eps=0.1 is one size, and the union has several"):
        Evaluation(norm="union", eps=0.1)


UNION = union_text([("linf", 0.1), ("l2", 1.0), ("l1", 6.0)])


def test_an_image_is_robust_in_the_union_only_if_it_stands_in_all():
    from tests.evaluation.test_summary import outcome

    attacks = [
        Attack(name="pgd", kind="own-pgd", norm=norm, eps=eps, group="quick", union=UNION, cascade=False)
        for norm, eps in (("linf", 0.1), ("l2", 1.0), ("l1", 6.0))
    ]
    found = outcome(attacks, [{1, 2}, {2, 3}, {4}], wrong={9})
    summary = summarize(found)
    assert summary.main == ("quick", UNION, None, 0)
    assert (summary.clean.k, summary.worst.k, summary.lowest.k) == (19, 15, 15)
    assert [(w.norm, w.share.k) for w in summary.worsts] == [
        ("linf", 17),
        ("l2", 17),
        ("l1", 18),
        (UNION, 15),
    ]
    assert UNION in summary.headline.text and UNION == "union of linf 0.1, l2 1, l1 6"
    _, worst = standing(found.rows(), summary.main)
    assert [i for i, right in worst.items() if not right] == [1, 2, 3, 4, 9]


def test_other_sizes_and_seeds_are_no_part_of_the_union():
    from tests.evaluation.test_summary import outcome

    shared = dict(kind="own-pgd", norm="l2", group="quick", cascade=False)
    attacks = [
        Attack(name="pgd", eps=1.0, union=UNION, **shared),
        Attack(name="pgd", eps=2.0, **shared),
        Attack(name="pgd", eps=1.0, seed=1, **shared),
    ]
    summary = summarize(outcome(attacks, [{1}, {2}, {3}]))
    assert (summary.worst.k, summary.lowest.k) == (19, 18)


def test_the_suites_of_the_union_are_those_of_its_norms():
    settings = Evaluation(suite="quick", norm="union", union={"l1": 6.0})
    attacks = suite(settings)
    alone = [a for n, e in settings.union.each for a in suite(Evaluation(suite="quick", norm=n, eps=e))]
    assert [a.model_copy(update={"union": ""}) for a in attacks] == alone
    assert len({a.union for a in attacks}) == 1 and {a.norm for a in attacks} == {"linf", "l2", "l1"}
    basic = suite(Evaluation(norm="union", attacks=("fgsm", "square")))
    assert [f"{a.name} {a.norm}" for a in basic] == [
        "fgsm linf",
        "square linf",
        "fgm l2",
        "square l2",
        "fgm l1",
    ]


def test_a_union_may_be_of_two_norms_and_not_of_one():
    two = Evaluation(suite="quick", norm="union", union={"l1": None})
    attacks = suite(two)
    assert {a.norm for a in attacks} == {"linf", "l2"}
    assert {a.union for a in attacks} == {"union of linf 8/255, l2 0.5"}
    assert [s for s in told_of_norms(two) if "Square in l1" in s] == []
    with pytest.raises(
        SurgeonError, match="a union is of two norms or three; for one alone say norm and eps"
    ):
        Evaluation(norm="union", union={"l1": None, "l2": None})


def test_an_evaluation_in_the_union_names_each_size(tmp_path, trained):
    pytest.importorskip("pyarrow")
    from surgeon.cli.results import assessment_table
    from surgeon.pipeline import verify_folder
    from surgeon.report import report

    model, (x, y) = trained
    union = {"linf": 0.05, "l2": 0.3, "l1": 2.0}
    settings = Evaluation(norm="union", union=union, attacks=("own-pgd",), steps=5, pictures=False)
    found = assess(model.model, x[:24], y[:24], settings, tmp_path / "e")
    each = [w.share.k for w in found.summary.worsts]
    assert found.summary.worst.k == each[-1] <= min(each[:3])
    told = text_of(assessment_table(found))
    assert "union of linf 0.05, l2 0.3, l1 2" in told
    assert all(c.ok is not False for c in verify_folder(tmp_path / "e"))
    page = report([tmp_path / "e"], tmp_path / "page.html").read_text()
    assert "all of L∞ ε = 0.05, L2 ε = 0.3, L1 ε = 2" in page


def test_the_union_is_diagnosed_in_each_norm_and_one_that_fails_is_named(tmp_path, trained, monkeypatch):
    pytest.importorskip("pyarrow")
    from surgeon.cli.results import assessment_table
    from surgeon.evaluation import parts
    from surgeon.report import report
    from surgeon.results.assessment import Check, Diagnosis

    asked = []

    def made(model, images, labels, *, eps, norm, **_):
        asked.append((norm, eps))
        shared = {"measured": {"1 ε": 0.5, "2 ε": 0.25}, "rule": "", "reason": "weaker"}
        codes = {"two-passes": False, "eps-curve": norm == "l2", "silent-success": norm == "l1"}
        checks = tuple(Check(code=c, failed=f, **shared) for c, f in codes.items())
        return Diagnosis(norm=norm, eps=eps, images=8, random=False, checks=checks)

    monkeypatch.setattr(parts, "diagnose", made)
    model, (x, y) = trained
    union = {"linf": 0.05, "l2": 0.3, "l1": 2.0}
    settings = Evaluation(
        norm="union", union=union, attacks=("own-pgd",), steps=1, pictures=False, diagnostics=8
    )
    found = assess(model.model, x[:12], y[:12], settings, tmp_path / "e")
    assert asked == list(union.items()) == list(found.diagnosis.sizes)
    failed = [c.code for c in found.checks if c.failed]
    assert failed == ["eps-curve in l2", "silent-success in l1"]
    assert [c.code for c in found.checks].count("two-passes") == 1
    assert found.diagnosis.reasons == ("weaker (eps-curve in l2)", "weaker (silent-success in l1)")
    averaged = found.diagnosis.model_copy(update={"random": True, "expectation": True})
    assert averaged.reasons == ("weaker (eps-curve in l2)",)  # the other is answered, in every norm
    assert "eps-curve in l2" in text_of(assessment_table(found))
    page = report([tmp_path / "e"], tmp_path / "page.html").read_text()
    assert "8 images, L∞ ε = 0.05; L2 ε = 0.3; L1 ε = 2" in page
    assert all(f"PGD far beyond ε, {n}" in page for n in ("L∞", "L2", "L1"))


def test_diagnostics_are_made_in_l1_without_square(trained):
    pytest.importorskip("scipy")
    from surgeon.errors import MissingPackageError

    model, (x, y) = trained
    try:
        found = diagnose(model, x[:48], y[:48], eps=4.0, norm="l1")
    except MissingPackageError as error:
        pytest.skip(str(error))
    codes = {c.code for c in found.checks}
    assert "black-box" not in codes and {"eps-curve", "unbounded", "losses"} <= codes
    assert found.reliable, found.reasons
