"""Parts of a run are written by the run alone; links that lead in a circle are no place."""

import os

import pytest

import surgeon
from surgeon.errors import ArtifactError
from surgeon.ownership import owned
from surgeon.ownership.manifest import write_manifest


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_manifest(folder, "run", files=False)
    return folder


@pytest.mark.parametrize("part", ["cut", "trained", "training", "trained/inner"])
def test_a_part_of_a_run_is_written_by_the_run_alone(run, part):
    network = surgeon.create_model("zoo/lenet5")
    with pytest.raises(ArtifactError, match="is a part of the run"):
        surgeon.save(network, run / part)
    with pytest.raises(ArtifactError, match="is a part of the run"), owned(run / part):
        pass
    with owned(run):
        surgeon.save(network, run / part)
    with pytest.raises(ArtifactError, match="is a part of the run"):
        surgeon.save(network, run / part, overwrite=True)
    surgeon.load(run / part)


def test_what_only_has_such_a_name_is_no_part(run, tmp_path):
    network = surgeon.create_model("zoo/lenet5")
    for place in (tmp_path / "trained", run / "mine"):
        surgeon.save(network, place)
        surgeon.save(network, place, overwrite=True)


def test_a_link_that_leads_back_to_itself_is_told(tmp_path):
    link = tmp_path / "loop"
    os.symlink(link, link)
    for place in (link, link / "below"):
        with pytest.raises(ArtifactError, match="a link that leads back to itself"):
            surgeon.save(surgeon.create_model("zoo/lenet5"), place)
    with pytest.raises(ArtifactError, match="a link that leads back to itself"), owned(link):
        pass
    assert link.is_symlink()


def test_an_empty_text_is_no_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="an empty text names no"):
        surgeon.save(surgeon.create_model("zoo/lenet5"), "")
    assert not any(tmp_path.iterdir())
