"""Parts of a run are written by the run alone; links that lead in a circle are no place."""

import os
from pathlib import Path

import pytest
import torch

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


def test_a_home_folder_that_no_shell_has_put_in_is_no_name(tmp_path, monkeypatch):
    """A folder called ~ appeared in the working directory, and what was written to it was looked for elsewhere."""
    from surgeon.data import Images
    from surgeon.evaluation import Attack, Store, certify, evaluate
    from surgeon.recipe import Training
    from surgeon.training import fit

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    network = surgeon.create_model("zoo/lenet5").eval()
    x, y = torch.rand(4, 1, 28, 28), torch.arange(4)
    attack = Attack(name="a", kind="own-pgd", eps=0.1, steps=1)
    doors = [
        lambda: surgeon.save(network, "~/x"),
        lambda: surgeon.save(network, Path("~")),
        lambda: surgeon.load("~/x"),
        lambda: surgeon.export(network, "~/x.onnx"),
        lambda: fit(network, Images(x, y), Images(x, y), Training(epochs=1), folder="~/x", progress=False),
        lambda: evaluate(network, x, y, [attack], store=Store("~/x")),
        lambda: certify(network, x, y, sigma=0.5, n0=2, n=10, folder="~/x"),
    ]
    for door in doors:
        with pytest.raises(
            ArtifactError, match=f"begins with ~.*give /home/me.* or {tmp_path}/~.* of that name"
        ):
            door()
    assert not any(tmp_path.iterdir())
    surgeon.save(network, "~nobody-at-all")
    surgeon.save(network, tmp_path / "~" / "x")


def test_commands_refuse_it_too(tmp_path, monkeypatch):
    from tests.cli.commandline import invoke

    monkeypatch.chdir(tmp_path)
    for args in (
        ["train", "kap", "zoo/lenet5", "--data=digits", "--output=~/x"],
        ["run", "kap", "zoo/lenet5", "--data=digits", "--output=~/x"],
        ["evaluate", "zoo/lenet5", "--data=digits", "--output=~/x"],
        ["apply", "kap", "zoo/lenet5", "--output=~/x"],
        ["demo", "--output=~/x"],
        ["new-operation", "mine", "--output=~/x"],
    ):
        code, _, words = invoke(*args)
        assert code == 2 and "begins with ~" in words, (args, words)
    assert not any(tmp_path.iterdir())
