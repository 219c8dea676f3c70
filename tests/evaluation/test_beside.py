"""Attacks that are named beside a suite's own: each has a figure of its own, and the suite's stay what they were."""

from __future__ import annotations

import pytest

from surgeon.errors import ArgumentError, RecipeError
from surgeon.evaluation import assess, suite
from surgeon.protocol import Column
from surgeon.protocol.measures import measured
from surgeon.recipe import Evaluation
from surgeon.results.files import VERDICTS

pyarrow = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("torchattacks")


def test_they_run_on_all_images_after_the_suites_own():
    alone = suite(Evaluation(suite="standard", norm="l2", eps=0.25))
    both = suite(Evaluation(suite="standard", norm="l2", eps=0.25, beside=("square", "pgd")))
    assert both[: len(alone)] == alone
    assert [(a.name, a.group, a.cascade, a.eps) for a in both[len(alone) :]] == [
        ("square", "beside", False, 0.25),
        ("pgd", "beside", False, 0.25),
    ]


def test_in_the_union_each_stands_in_its_norms():
    both = suite(Evaluation(suite="quick", norm="union", beside=("square",)))
    assert [a.norm for a in both if a.group == "beside"] == ["linf", "l2"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"suite": "standard", "beside": ("squre",)}, "did you mean 'square'"),
        ({"suite": "standard", "beside": ("pgd", "pgd")}, "beside=.* has a name twice"),
        ({"suite": "standard", "norm": "l1", "beside": ("square",)}, "square is an attack in"),
        ({"suite": "basic", "beside": ("square",)}, "basic runs those of the setting attacks"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Evaluation(**settings)


def test_a_column_reads_the_attack_that_saw_all_images(trained, tmp_path):
    model, (x, y) = trained[0], (trained[1].x[:16], trained[1].y[:16])
    settings = Evaluation(suite="quick", eps=0.1, diagnostics=0, beyond=False, pictures=False)
    column = Column(of="attack", attack="square")

    def square(settings, folder):
        found = assess(model, x, y, settings, folder=folder)
        return found, measured(column, found, pyarrow.read_table(folder / VERDICTS).to_pylist())

    with pytest.raises(ArgumentError, match="had left standing alone"):
        square(settings, tmp_path / "suite")
    found, own = square(settings.model_copy(update={"beside": ("square",)}), tmp_path / "both")
    alone = Evaluation(attacks=("square",), eps=0.1, beyond=False, pictures=False)
    assert own == square(alone, tmp_path / "alone")[1]
    assert {r.group for r in found.summary.rows} == {"quick", "beside"}
    assert found.summary.main.group == "quick"
