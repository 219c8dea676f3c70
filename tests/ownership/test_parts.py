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
    with pytest.raises(ArtifactError, match="(is|lies in) a part of the run"):
        surgeon.save(network, run / part)
    with pytest.raises(ArtifactError, match="(is|lies in) a part of the run"), owned(run / part):
        pass
    with owned(run):
        surgeon.save(network, run / part)
    with pytest.raises(ArtifactError, match="(is|lies in) a part of the run"):
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


def test_no_file_is_written_among_the_networks_of_a_run(tmp_path):
    from surgeon.ownership import new_file
    from surgeon.ownership.manifest import write_manifest

    run = tmp_path / "run"
    (run / "trained").mkdir(parents=True)
    write_manifest(run, "run", files=False)
    wanted = rf"x.onnx lies in a part of the run .*; choose a place outside it, such as {tmp_path}/x.onnx"
    with pytest.raises(ArtifactError, match=wanted), new_file(run / "trained/x.onnx"):
        raise AssertionError
    assert not [*(run / "trained").iterdir()]
    with new_file(run / "x.onnx") as work:
        work.write_text("")


def test_nothing_is_written_among_the_files_of_a_network(tmp_path):
    from surgeon.ownership import new_file

    network, folder = surgeon.create_model("zoo/lenet5"), tmp_path / "net"
    surgeon.save(network, folder)
    wanted = rf"lies in the network {folder}, which .*; choose a place outside it, such as {tmp_path}/"
    with pytest.raises(ArtifactError, match=wanted + "x.onnx"), new_file(folder / "x.onnx"):
        raise AssertionError
    with pytest.raises(ArtifactError, match=wanted + "results"), owned(folder / "more/results"):
        raise AssertionError
    with pytest.raises(ArtifactError, match=wanted + "inner"):
        surgeon.save(network, folder / "inner")
    with pytest.raises(ArtifactError, match=wanted + "x.onnx"):
        surgeon.export(network, folder / "x.onnx", input_size=(1, 32, 32))
    surgeon.save(network, folder, overwrite=True)
