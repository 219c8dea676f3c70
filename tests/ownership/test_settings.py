"""Folders of work that can be resumed: of one set of settings, free of what a mistaken call or a kill left."""

import os

import pytest
from filelock import FileLock

from surgeon.disk.files import write_json
from surgeon.errors import ArtifactError
from surgeon.ownership import claim, owned, owning, read_manifest, take, taken


def test_settings_are_the_first_thing_and_others_are_refused(tmp_path):
    with owned(tmp_path / "run") as folder:
        take(folder, "settings.json", {"seed": 0}, "a run")
        take(folder, "settings.json", {"seed": 0}, "a run")
        assert read_manifest(folder).what == "run"
        with pytest.raises(ArtifactError, match=r"holds a run with other settings \(seed\)"):
            take(folder, "settings.json", {"seed": 1}, "a run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(ArtifactError, match="mine exists already and holds no run"):
        claim(tmp_path / "mine", "settings.json", {}, "a run")


def test_an_error_before_anything_was_made_leaves_no_folder(tmp_path):
    def work(then):
        with taken(tmp_path / "run", "settings.json", {"seed": 0}, "a run"):
            then()
            raise ArtifactError("no")

    with pytest.raises(ArtifactError, match="no"):
        work(lambda: None)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ArtifactError, match="no"):
        work(lambda: write_json(tmp_path / "run" / "made.json", {}))
    assert sorted(os.listdir(tmp_path / "run")) == [".surgeon.json", "made.json", "settings.json"]


def test_files_that_were_not_finished_are_cleared_and_those_of_other_owners_are_not(tmp_path):
    with owned(tmp_path / "study") as study:
        take(study, "study.json", {}, "a study")
        left, other = (study / p / ".surgeon-new-1.0123abcd-table.csv" for p in ("arm", "busy"))
        for path in (left, other):
            path.parent.mkdir()
            path.write_text("half")
        with owned(study / "busy"), owned(study):
            pass  # the same owner again clears nothing
        assert left.exists()
    with FileLock(study / ".surgeon-lock-busy"), owned(study):  # somebody works there
        assert not left.exists() and other.exists()


def test_a_function_that_owns_the_folder_of_an_argument(tmp_path):
    from tests.ownership.test_lock import holder, killed

    class Store:
        folder = tmp_path / "out"

    @owning("store")
    def work(number, store=None):
        return number

    other = holder(tmp_path / "out")
    assert work(3) == 3
    with pytest.raises(ArtifactError, match="out is in use"):
        work(3, Store())
    with pytest.raises(ArtifactError, match="out is in use"):
        work(3, store=tmp_path / "out")
    killed(other)
    assert work(3, Store()) == 3


def test_a_folder_of_another_kind_is_called_what_it_is(tmp_path):
    with owned(tmp_path / "out") as folder:
        take(folder, "settings.json", {"seed": 0}, "an evaluation")
        with pytest.raises(ArtifactError, match="out holds surgeon's evaluation, not a run; choose another"):
            claim(folder, "settings.json", {"seed": 0}, "a run")


def test_settings_that_differ_are_told_with_their_values(tmp_path):
    from surgeon.ownership import claim, take

    here = {
        "seed": 1,
        "evaluation": {"eps": 0.1, "norm": "linf", "attacks": ["fgsm"]},
        "recipes": [{"name": "kap"}],
    }
    take(tmp_path / "e", "settings.json", here, "an evaluation")
    now = {**here, "seed": 2, "evaluation": {**here["evaluation"], "eps": 0.2, "attacks": []}}
    said = (
        r"other settings \(evaluation, seed\); evaluation\.attacks is \[\"fgsm\"\] there, and \[\] now; "
        r"evaluation\.eps is 0\.1 there, and 0\.2 now; "
        "seed is 1 there, and 2 now; choose another folder"
    )
    with pytest.raises(ArtifactError, match=said):
        claim(tmp_path / "e", "settings.json", now, "an evaluation")
    with pytest.raises(
        ArtifactError, match=r"\(recipes\); the length of recipes is 1 there, and 0 now; choose"
    ):
        claim(tmp_path / "e", "settings.json", {**here, "recipes": []}, "an evaluation")
    other = {**here, "recipes": [{"name": "anl"}]}
    with pytest.raises(
        ArtifactError, match=r'recipes\[0\]\.name is "kap" there, and "anl" now; choose another'
    ):
        claim(tmp_path / "e", "settings.json", other, "an evaluation")
