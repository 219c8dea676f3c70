"""The table of what is kept and folds: made from plans, not written by hand."""

import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))

import kept_table  # noqa: E402

import surgeon  # noqa: E402


def edits(*notes):
    """An edit that folds for each "", and one that does not for each reason."""
    return [SimpleNamespace(folds=not note, exchanges=False, note=note) for note in notes]


def test_a_row_says_what_the_plans_say():
    assert kept_table.folding(edits("", "")) == "yes"
    assert kept_table.folding(edits("max | min", "max | min", "rare")) == "no: max | min"
    assert kept_table.folding(edits("", "", "rare")) == "2 of 3 edits; the others not: rare"
    assert kept_table.effect("exact", "exact") == "kept exactly"
    assert kept_table.effect("destroyed", "approximated") == (
        "approximated with calibration images, else destroyed (train before use)"
    )
    rows = kept_table.table({"a": ("x", "no: b | c"), "b": ("y", "yes"), "c": ("x", "no: b | c")})
    assert rows[2:] == ["| `a`, `c` | x | no: b \\| c |", "| `b` | y | yes |"]


def test_the_page_has_its_mark_and_no_table_by_hand(monkeypatch):
    text = (ROOT / "docs/methods/index.md").read_text(encoding="utf-8")
    assert text.count(kept_table.MARK) == 1 and kept_table.HEAD[0] not in text
    monkeypatch.setattr(kept_table, "answers", lambda: {"kap": ("approximated", "yes")})
    assert "| `kap` | approximated | yes |" in kept_table.with_table(text)


def test_the_answers_are_those_of_every_shipped_recipe(monkeypatch):
    import surgeon.recipe as recipe

    monkeypatch.setattr(recipe, "shipped", lambda: ("kmp", "wm-unsharp", "plain"))
    small = surgeon.create_model("zoo/shallow2")
    monkeypatch.setattr(surgeon, "create_model", lambda *a, **k: small)
    found = kept_table.answers()
    assert list(found) == ["kmp", "wm-unsharp", "plain"]
    assert found["kmp"][1].endswith("not: kernel max pooling is not linear")  # what stands at the input folds
    assert "with calibration images" in found["wm-unsharp"][0]
    assert found["plain"] == ("nothing is cut: training alone", "it is stock")
