"""Attacks for the smallest distance, and the accuracy at every ε that one run of them gives."""

import io
import math

import pytest
import torch
from rich.console import Console
from torch import nn

from surgeon.cli.results import assessment_table
from surgeon.evaluation import Attack, Outcome, assess, evaluate, summarize
from surgeon.pipeline import verify_folder
from surgeon.recipe import Evaluation
from surgeon.report import report
from surgeon.results.distances import distance_curves

pytest.importorskip("torchattacks")
ATTACKS = [("ddn", "l2"), ("fmn", "linf"), ("fmn", "l2"), ("fmn", "l1"), ("alma", "l2"), ("alma", "l1")]
DUAL = {"linf": 1, "l2": 2, "l1": math.inf}


@pytest.fixture(autouse=True)
def _package():
    from surgeon.errors import MissingPackageError
    from surgeon.evaluation.attacks.adv_lib import adv_lib

    try:
        adv_lib("attacks")
    except MissingPackageError as error:
        pytest.skip(str(error))


def linear(classes=3):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, classes)).eval()
    x = 0.5 + 0.05 * torch.rand(20, 2, 4, 4)
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def exact(model, x, y, norm):
    """The distance to the nearest boundary of a linear model, in float64: |margin| / dual norm of its slope."""
    weight, bias = (p.detach().double() for p in model[1].parameters())
    logits = x.flatten(1).double() @ weight.T + bias
    far = []
    for i, label in enumerate(y.tolist()):
        others = [k for k in range(len(bias)) if k != label]
        far.append(
            min(
                float((logits[i, label] - logits[i, k]) / (weight[label] - weight[k]).norm(p=DUAL[norm]))
                for k in others
            )
        )
    return far


@pytest.mark.parametrize(("kind", "norm"), ATTACKS)
def test_the_distance_is_never_below_that_of_the_algebra_and_near_it(kind, norm):
    model, x, y = linear()
    outcome = evaluate(model, x, y, [Attack(name=kind, kind=kind, norm=norm, steps=300)])
    found = [v for v in outcome if v.attack == kind]
    truth = exact(model, x, y, norm)
    assert all(v.success for v in found)
    # In L1 one pixel alone would go beyond black or white, so that the algebra's distance is a bound only.
    ratio = [getattr(v, norm) / t for v, t in zip(found, truth, strict=True)]
    assert min(ratio) >= 1 - 1e-5, min(ratio)
    assert sorted(ratio)[len(ratio) // 2] < (1.5 if kind == "alma" else 1.35), sorted(ratio)


def row(example, distance, *, success=True, loose=False, norm="l2", name="fmn"):
    from surgeon.evaluation import Verdict

    shared = dict(example=example, image="", label=0, clean=0, margin=1.0)
    said = dict(success=success, prediction=int(success), votes=float(not success))
    return Verdict(attack=name, norm=norm, l2=distance, loose=loose, **said, **shared)


def clean(example, wrong=False):
    from surgeon.evaluation import Verdict

    shared = dict(example=example, image="", label=0, clean=0, margin=1.0)
    return Verdict(attack="none", success=wrong, prediction=int(wrong), votes=float(not wrong), **shared)


def test_the_curve_is_exact_at_every_size_and_what_is_not_adversarial_is_infinitely_far():
    verdicts = (
        *(clean(i, wrong=i == 4) for i in range(6)),
        row(0, 0.1),
        row(1, 0.2, loose=True),
        row(2, 0.2),
        row(3, 0.0, success=False),  # found nothing: its distance of 0 is that of the image itself
        row(5, 0.7),
    )
    fmn = Attack(name="fmn", kind="fmn", norm="l2", steps=10)
    (curve,) = distance_curves(Outcome(verdicts, (fmn,)), asked=(0.0, 0.2, 1.0))
    assert [(s.eps, s.k) for s in curve.steps] == [(0.0, 5), (0.1, 4), (0.2, 2), (0.7, 1)]
    assert [curve.at(e).k for e in (0.0, 0.0999, 0.1, 0.1999, 0.2, 0.69, 0.7, 100.0)] == [
        5,
        5,
        4,
        4,
        2,
        2,
        1,
        1,
    ]
    assert [p.share.k for p in curve.points] == [5, 2, 1] and curve.median == pytest.approx(0.2)
    assert (curve.unturned, curve.found, curve.loose) == (1, 4, 1) and "1 of 4" in curve.check.advice


def test_of_several_attacks_the_smallest_distance_counts():
    verdicts = (
        clean(0),
        clean(1),
        row(0, 0.3),
        row(1, 0.1),
        row(0, 0.2, name="ddn"),
        row(1, 0.4, name="ddn"),
    )
    attacks = tuple(Attack(name=n, kind=n, norm="l2", steps=10) for n in ("fmn", "ddn"))
    fmn, ddn, both = distance_curves(Outcome(verdicts, attacks), asked=(0.25,))
    assert [c.points[0].share.k for c in (fmn, ddn, both)] == [1, 1, 0] and both.attacks == ("fmn", "ddn")


def test_an_attack_that_ends_too_early_is_told_by_its_shorter_perturbations():
    model, x, y = linear()
    few, many = (
        distance_curves(evaluate(model, x, y, [Attack(name="ddn", kind="ddn", norm="l2", steps=steps)]))[0]
        for steps in (6, 400)
    )
    assert few.loose > few.found / 2 and few.check.advice
    assert many.loose <= 1 and not many.check.advice
    assert few.median > many.median


def test_what_stands_at_a_size_counts_as_fallen_there_where_a_shorter_distance_was_found():
    """An attack for the smallest distance has no ε, and is evidence at every one all the same."""
    model, x, y = linear()
    weak = Attack(
        name="weak", kind="own-pgd", norm="l2", eps=2.0, steps=1, step_size=1e-6, random_start=False
    )
    fmn = Attack(name="fmn", kind="fmn", norm="l2", steps=100)
    found = summarize(evaluate(model, x, y, [fmn, weak]))
    assert (found.main.eps, found.worst.k) == (2.0, 20) and found.lowest.k == 0
    assert "stronger-elsewhere" in {f.code for f in found.findings}


@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_alma_ends_where_its_first_step_can_not_be_as_long_as_it_asks_for(pixel):
    """Only one pixel has a slope, and hardly any room: adv-lib's search for a first step would never end."""

    class One(nn.Module):
        def forward(self, x):
            z = x[:, 0, 0, 0]
            return torch.stack([z if pixel == 0 else -z, 0.0 * z, 0.0 * z - 1], 1)

    x = torch.full((3, 1, 2, 2), 0.5)
    x[:, 0, 0, 0] = 0.1 if pixel == 0 else 0.9
    y = One()(x).argmax(1)
    outcome = evaluate(One(), x, y, [Attack(name="alma", kind="alma", norm="l2", steps=20)])
    assert len(outcome) == 6


def test_a_folder_has_the_curve_and_verify_adds_it_up_again(tmp_path):
    pytest.importorskip("pyarrow")
    model, x, y = linear()
    settings = Evaluation(attacks=("fmn", "ddn"), norm="l2", curve_eps=(0.01, 0.1), pictures=False)
    found = assess(model, x, y, settings, tmp_path / "e")
    assert [c.name for c in found.smallest] == ["fmn, l2", "ddn, l2", "fmn and ddn, l2"]
    assert [p.eps for p in found.smallest[0].points] == [0.01, 0.1]
    checks = {c.name: c for c in verify_folder(tmp_path / "e")}
    assert checks["distances"].ok, checks["distances"]
    rows = ["local-optimality of fmn, l2", "local-optimality of ddn, l2"]
    assert found.diagnosis is None and [c.code for c in found.checks] == rows
    console = Console(file=io.StringIO(), width=200)
    console.print(assessment_table(found))
    page = report([tmp_path / "e"], tmp_path / "page.html").read_text()
    for row in rows:
        assert console.file.getvalue().count(row) == 1 and page.count(row) == 1, row
    path = tmp_path / "e" / "evaluation.json"
    text = path.read_text()
    changed = text.replace('"unturned": 0', '"unturned": 1', 1)
    assert changed != text
    path.write_text(changed)
    assert not {c.name: c for c in verify_folder(tmp_path / "e")}["distances"].ok


@pytest.mark.parametrize("eps", [float("nan"), -1, "8/255"])
def test_a_curve_is_asked_at_sizes_alone(eps):
    from surgeon.errors import ArgumentError
    from surgeon.results.distances import DistanceCurve

    curve = DistanceCurve.model_construct(steps=(), n=4)
    assert curve.at(0.1).k == 4
    with pytest.raises(ArgumentError, match="eps=.* must be a finite number"):
        curve.at(eps)
