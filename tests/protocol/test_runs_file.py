"""A file of runs that lies alone: each record is checked by its digest and by the protocol."""

import copy
import json

import pytest

from surgeon.cli import main
from surgeon.cli.reproduce import _shown
from surgeon.errors import SurgeonError
from surgeon.pipeline.runs_of_protocol import read_runs, settings_of
from surgeon.protocol import Measured, Ran, Runs, load_protocol, tabulated
from surgeon.results.statistics import wilson

NAME, BUDGET = "kap/tableA3", "smoke"


def ran(known, row, seed, bits):
    share = Measured(share=wilson(bits.count("1"), len(bits)), right=bits)
    return Ran(
        row=row,
        seed=seed,
        settings=settings_of(known, BUDGET, row),
        tested="t",
        labelled="l",
        columns=dict.fromkeys(known.columns_of(BUDGET), share),
        reliable=True,
        headline=True,
        seconds=1.5,
        made={"python": "3.11"},
    )


@pytest.fixture(scope="module")
def known():
    return load_protocol(NAME)


@pytest.fixture(scope="module")
def plain(known):
    runs = Runs(protocol=NAME, budget=BUDGET)
    for number, row in enumerate(known.rows_of(BUDGET)):
        runs = runs.with_(ran(known, row, 0, "1" * (5 + number) + "0" * 20))
    return runs.model_dump(mode="json")


def _reversed(runs):
    for column in runs[0]["columns"].values():
        column["right"] = column["right"][::-1]


def _swapped(runs):
    runs[0]["columns"], runs[1]["columns"] = runs[1]["columns"], runs[0]["columns"]


def _flipped(runs):
    runs[0]["headline"] = not runs[0]["headline"]


def _without_a_column(runs):
    del runs[0]["columns"][next(iter(runs[0]["columns"]))]


def _with_a_column(runs):
    runs[0]["columns"]["more"] = None


def _emptied(runs):
    runs[0]["columns"][next(iter(runs[0]["columns"]))] = None


def _paged(file):
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", "page", str(file)])
    return ended.value.code


CHANGES = {
    "of another seed": (lambda runs: runs[0].update(seed=77), "no such seed at smoke, but 0"),
    "of no row": (lambda runs: runs[0].update(row="nobody"), "'nobody'.* has no such row at smoke, but "),
    "twice": (lambda runs: runs.append(copy.deepcopy(runs[0])), "two runs of this row and seed"),
    "without a column": (_without_a_column, "the column .* is missing"),
    "with a column more": (_with_a_column, "there is a column 'more'"),
    "with an empty column": (_emptied, "its digest was made of"),
    "quotable": (_flipped, "its digest was made of"),
    "reliable": (lambda runs: runs[0].update(reliable=False), "its digest was made of"),
    "reversed": (_reversed, "its digest was made of"),
    "swapped": (_swapped, "its digest was made of"),
    "of other images": (lambda runs: runs[0].update(tested="u"), "its digest was made of"),
    "of another machine": (lambda runs: runs[0].update(made={"python": "3.12"}), "its digest was made of"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_lone_file_of_runs_is_told(change, known, plain, tmp_path):
    change, said = CHANGES[change]
    content = copy.deepcopy(plain)
    change(content["runs"])
    file = tmp_path / "runs.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SurgeonError, match=said) as told:
        read_runs(file, known, BUDGET)
    assert "\n" not in str(told.value) and str(file) in str(told.value)


@pytest.mark.parametrize(
    "protocol, budget, said", [("anl/speed", BUDGET, "no such row"), (NAME, "gone", "has no budget 'gone'")]
)
def test_runs_under_the_name_of_another_protocol_or_budget_are_told(
    protocol, budget, said, plain, tmp_path, capsys
):
    file = tmp_path / "runs.json"
    file.write_text(json.dumps({**plain, "protocol": protocol, "budget": budget}), encoding="utf-8")
    with pytest.raises(SurgeonError, match=said):
        read_runs(file, load_protocol(protocol), budget)
    assert _paged(file) == 2
    assert "\n" not in capsys.readouterr().err.strip()


def test_a_digest_is_of_the_protocol_too(known, plain, tmp_path):
    other = known.model_copy(update={"name": "mine"})
    file = tmp_path / "runs.json"
    file.write_text(json.dumps({**plain, "protocol": "mine"}), encoding="utf-8")
    with pytest.raises(SurgeonError, match="its digest was made of"):
        read_runs(file, other, BUDGET)


def test_runs_without_digests_are_read_and_the_page_says_so(known, plain, tmp_path, capsys):
    content = copy.deepcopy(plain)
    content["runs"][0]["digest"] = ""
    del content["runs"][1]["digest"]
    file = tmp_path / "runs.json"
    for told in (plain, content):
        file.write_text(json.dumps(told), encoding="utf-8")
        assert len(read_runs(file, known, BUDGET).runs) == len(plain["runs"])
        assert _paged(file) == 0
        assert (f"2 of {len(plain['runs'])} runs carry no digest" in capsys.readouterr().out) == (
            told is content
        )
        _shown(tabulated(known, BUDGET, read_runs(file, known, BUDGET).runs), as_json=False)
        assert ("runs carry no digest" in capsys.readouterr().out) == (told is content)


def test_the_projects_own_runs_are_read_and_sealed(tmp_path):
    from experiments.results import RESULTS, seal

    file = sorted(RESULTS.glob("*.json"))[0]
    copied = tmp_path / file.name
    content = json.loads(file.read_text(encoding="utf-8"))
    content["runs"][0].pop("digest", None)
    copied.write_text(json.dumps(content), encoding="utf-8")
    seal(copied)
    sealed = json.loads(copied.read_text(encoding="utf-8"))
    assert all(run["digest"] for run in sealed["runs"])
    _flipped(sealed["runs"])
    copied.write_text(json.dumps(sealed), encoding="utf-8")
    with pytest.raises(SurgeonError, match="its digest was made of"):
        seal(copied)
