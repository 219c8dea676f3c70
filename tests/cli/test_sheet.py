"""Tables at any width: every word and number of a cell stays whole."""

import re

import pytest
from rich.console import Console
from rich.text import Text

import surgeon
from surgeon.cli.results import study_table
from surgeon.cli.sheet import Column, Sheet
from surgeon.cli.tables import plan_table, sites_table
from surgeon.results.study import ROLES, Study, below


def lines(what, width):
    """What a console of a width prints."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(what)
    return [line.rstrip() for line in capture.get().splitlines()]


def words(what, width):
    """All words in order of the alphabet, without what joins columns that stand below their row."""
    return sorted(set(re.findall(r"[^\s;]+", "\n".join(lines(what, width)))))


def difference(low):
    return {"mean": low + 0.1, "low": low, "high": low + 0.2, "pairs": []}


@pytest.fixture(scope="module")
def network():
    return surgeon.create_model("resnet18", num_classes=10)


def study():
    arm = {"seeds": [0, 1], "clean": [0.5212, 0.531], "worst": [0.1, 0.2], "reliable": [True, False]}
    compared = {"clean_difference": difference(-0.1), "worst_difference": difference(0.012)}
    arms = [
        {"name": name, "role": role, **arm, **({} if role == "control" else compared)}
        for name, role in ROLES.items()
    ]
    folders = [str(below(name, 0)) for name in ROLES]
    return Study.model_validate({"recipe": "kap", "model": "resnet18", "arms": arms, "folders": folders})


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("kind", ["plan", "sites", "study"])
def test_every_word_of_a_table_is_whole(network, kind, width):
    made = {
        "plan": lambda: plan_table(surgeon.plan(network, "kap+anl", input_size=(3, 64, 64)), full=True),
        "sites": lambda: sites_table(surgeon.sites(network, input_size=(3, 64, 64))),
        "study": lambda: study_table(study()),
    }[kind]()
    assert max(map(len, lines(made, width))) <= width
    whole = words(made, 400)
    assert whole == [w for w in words(made, width) if w in whole]
    assert "…" not in "".join(lines(made, width))


def test_columns_that_do_not_fit_stand_below_and_spare_ones_first():
    sheet = Sheet("site", Column("note", spare=True), Column("number", right=True))
    sheet.add("layer1.0.conv1", "a note of some length", "52.2 %")
    sheet.add("conv", "", "1")
    assert lines(sheet, 80)[0].split() == ["site", "note", "number"]
    assert lines(sheet, 30) == [
        "site            number",
        "layer1.0.conv1  52.2 %",
        "    note a note of some length",
        "conv                 1",
    ]


def test_prose_wraps_between_words_and_empty_columns_are_left_out():
    sheet = Sheet("name", "nothing", Column("why", prose=True))
    sheet.add("kap", "", "the channels do not fill a sheet of this size at all")
    found = lines(sheet, 40)
    assert found[0] == "name  why" and "nothing" not in "".join(found)
    assert " ".join(" ".join(found[1:]).split()) == "kap the channels do not fill a sheet of this size at all"
    assert max(map(len, found)) <= 40


def test_cells_are_no_markup():
    sheet = Sheet("file", "state")
    sheet.add("a[b].pth", Text("FAILED", "red"))
    assert "a[b].pth" in "\n".join(lines(sheet, 80))


def test_a_word_longer_than_the_line_is_folded_and_not_cut():
    sheet = Sheet("file")
    sheet.add("x" * 50)
    assert "".join(lines(sheet, 20)).replace(" ", "").removeprefix("file") == "x" * 50


def test_what_is_no_number_is_null_in_json(capsys):
    import json
    import math

    from surgeon.cli.options import echo_json

    echo_json([{"val_robust": math.nan, "of": (1, -math.inf, "ü", None)}])
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == [
        {"val_robust": None, "of": [1, None, "ü", None]}
    ]


def test_no_command_prints_json_by_itself():
    from pathlib import Path

    import surgeon.cli

    files = [f for f in Path(surgeon.cli.__file__).parent.glob("*.py") if f.name != "options.py"]
    assert not [f.name for f in files if "json.dumps" in f.read_text(encoding="utf-8")]
