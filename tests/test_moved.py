"""Folders that were moved or copied go on: what lies in them is known by its place below them."""

import json
import shutil

import pytest
import torch

from surgeon.errors import ArtifactError
from surgeon.evaluation import assess
from surgeon.ownership import noted, opened
from surgeon.ownership.manifest import write_manifest
from surgeon.recipe import Evaluation, load_recipe
from tests.test_contents import pictures, start

BASIC = Evaluation(suite="basic", attacks=("fgsm",), samples=8, eps=0.1)


def test_a_path_of_the_same_study_is_noted_by_its_way_and_another_one_by_itself(tmp_path):
    whole, other = tmp_path / "study", tmp_path / "other"
    for folder in (whole / "stock/0", whole / "base", other):
        folder.mkdir(parents=True)
    assert noted(whole / "base", whole / "stock/0") == str(whole / "base")  # no study yet
    write_manifest(whole, "study", files=False)
    assert noted(whole / "base", whole / "stock/0") == "../../base"
    assert opened("../../base", whole / "stock/0") == str(whole / "base")
    assert noted(other, whole / "stock/0") == opened(str(other), whole / "stock/0") == str(other)
    assert noted(None, whole) is None


def test_a_copied_study_goes_on_and_other_settings_are_refused(tmp_path):
    pytest.importorskip("torchattacks")
    from surgeon.pipeline import study, verify_folder

    recipe = load_recipe("kap", ["training.epochs=1", "training.batch_size=32"])
    given = {"evaluation": BASIC, "data": "digits", "device": "cpu"}
    first, second = tmp_path / "first", tmp_path / "second"
    table = study([recipe], "zoo/lenet5", first, **given)
    shutil.copytree(first, second)
    shutil.rmtree(second / "placebo-fine-tuned")
    (second / "table.json").unlink()
    first.rename(tmp_path / "gone")
    assert study([recipe], "zoo/lenet5", second, **given) == table
    assert all(c.ok for c in verify_folder(second))
    assert {
        json.loads((second / a / "0/settings.json").read_text())["weights"] for a in ("stock", "surgery")
    } == {"../../base/trained/model.safetensors"}
    with pytest.raises(ArtifactError, match=r"second holds a study with other settings \(seed\)"):
        study([recipe], "zoo/lenet5", second, seed=1, **given)


def test_a_finished_run_whose_images_were_moved_still_fits(tmp_path):
    from surgeon.pipeline import verify_folder

    pictures(tmp_path / "data", 0)
    start(tmp_path / "run", data=str(tmp_path / "data"))
    (tmp_path / "data").rename(tmp_path / "moved")
    start(tmp_path / "run", data=str(tmp_path / "moved"))
    assert json.loads((tmp_path / "run/settings.json").read_text())["data"] == str(tmp_path / "moved")
    assert all(c.ok for c in verify_folder(tmp_path / "run"))
    text = (tmp_path / "run/settings.json").read_text()
    (tmp_path / "run/settings.json").write_text(text + "\n")
    (tmp_path / "moved").rename(tmp_path / "again")
    start(tmp_path / "run", data=str(tmp_path / "again"))
    assert [c.name for c in verify_folder(tmp_path / "run") if not c.ok] == ["records"]


def test_an_evaluation_goes_on_where_its_images_were_moved(tmp_path, tiny):
    pytest.importorskip("torchattacks")
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = tiny(images).argmax(1)
    settings = Evaluation(suite="basic", attacks=("fgsm",), eps=0.1)
    before = assess(tiny, images, labels, settings, tmp_path / "e", data={"source": "/a"})
    assert assess(tiny, images, labels, settings, tmp_path / "e", data={"source": "/b"}) == before
    (tmp_path / "e/evaluation.json").unlink()
    again = assess(tiny, images, labels, settings, tmp_path / "e", data={"source": "/b"})
    assert json.loads((tmp_path / "e/settings.json").read_text())["data"] == again.data
    assert again.data["source"] == "/b"
    with pytest.raises(ArtifactError, match=r"other settings \(data\)"):
        assess(tiny, images.flip(0), labels, settings, tmp_path / "e", data={"source": "/b"})


def moved(place):
    """Move a folder or a file, and give its new place."""
    return str(place.rename(place.with_name(f"moved-{place.name}")))


def test_a_run_goes_on_where_its_weights_and_the_network_that_it_began_with_were_moved(tmp_path):
    import surgeon

    network = surgeon.create_model("zoo/lenet5", num_classes=10, input_size=(1, 28, 28))
    surgeon.save(network, tmp_path / "net")
    weights = tmp_path / "w.safetensors"
    shutil.copy(tmp_path / "net/model.safetensors", weights)
    before = start(tmp_path / "run", weights=str(weights))
    assert start(tmp_path / "run", weights=moved(weights)).history[0].loss == before.history[0].loss
    record = json.loads((tmp_path / "run/settings.json").read_text())
    assert record["weights"] == str(tmp_path / "moved-w.safetensors")
    with pytest.raises(ArtifactError, match=r"other settings \(weights\)"):
        start(tmp_path / "run")
    before = go_on(tmp_path / "on", tmp_path / "net")
    assert go_on(tmp_path / "on", moved(tmp_path / "net")).history[0].loss == before.history[0].loss
    surgeon.save(
        surgeon.create_model("zoo/lenet5", num_classes=10, input_size=(1, 28, 28)), tmp_path / "else"
    )
    with pytest.raises(
        ArtifactError, match=r"the model of .*else \(other contents\); it was made from .*moved-net"
    ):
        go_on(tmp_path / "on", tmp_path / "else")


def go_on(folder, model):
    from surgeon.pipeline import train

    return train(
        [load_recipe("plain", ["training.epochs=1", "training.batch_size=8"])],
        str(model),
        folder,
        data="digits",
        input_size=(1, 28, 28),
        device="cpu",
    )


def test_a_study_goes_on_where_its_images_and_weights_were_moved_and_with_no_others(tmp_path):
    pytest.importorskip("torchattacks")
    import surgeon
    from surgeon.pipeline import study, verify_folder

    recipe = load_recipe("kap", ["training.epochs=1", "training.batch_size=32"])
    data, weights, folder = (
        pictures(tmp_path / "data", 0, count=40),
        tmp_path / "w.safetensors",
        tmp_path / "study",
    )
    surgeon.save(surgeon.create_model("zoo/lenet5", num_classes=2, input_size=(1, 28, 28)), tmp_path / "net")
    shutil.copy(tmp_path / "net/model.safetensors", weights)
    given = {"evaluation": BASIC, "device": "cpu", "input_size": (1, 28, 28)}
    table = study([recipe], "zoo/lenet5", folder, data=str(data), weights=str(weights), **given)
    shutil.rmtree(folder / "placebo-fine-tuned")
    (folder / "table.json").unlink()
    data, weights = moved(data), moved(weights)
    assert study([recipe], "zoo/lenet5", folder, data=data, weights=weights, **given) == table
    said = json.loads((folder / "study.json").read_text())["given"]
    assert (said["data"], said["weights"]) == (data, weights)
    assert [c for c in verify_folder(folder) if not c.ok] == []
    other = pictures(tmp_path / "other", 1, count=40)
    with pytest.raises(
        ArtifactError, match=r"the training images of .*other \(other .*it was made from .*moved-data"
    ):
        study([recipe], "zoo/lenet5", folder, data=str(other), weights=weights, **given)
    assert json.loads((folder / "study.json").read_text())["given"] == said
    with pytest.raises(ArtifactError, match=r"holds a study with other settings \(given\)"):
        study([recipe], "zoo/lenet5", folder, data=data, **given)


def test_a_reproduction_goes_on_where_its_images_were_moved_and_with_no_others(tmp_path):
    pytest.importorskip("torchattacks")
    from surgeon.pipeline import reproduce, verify_folder
    from tests.protocol.test_reproducing import PROTOCOL

    data, folder = pictures(tmp_path / "data", 0, count=40), tmp_path / "reproduced"
    given = {"budget": "smoke", "input_size": (1, 28, 28), "device": "cpu", "seeds": 1}
    reproduce(PROTOCOL, folder, rows=["kap"], data=str(data), **given)
    data = moved(data)
    other = pictures(tmp_path / "other", 1, count=40)
    with pytest.raises(
        ArtifactError, match=r"the training images of .*other \(other .*it was made from .*data"
    ):
        reproduce(PROTOCOL, folder, data=str(other), **given)
    found = reproduce(PROTOCOL, folder, data=data, **given)
    assert {r.row for r in found.runs} == {"kap", "stock"}
    assert json.loads((folder / "protocol.json").read_text())["data"] == data
    runs = [folder / "work" / row / "0/settings.json" for row in ("kap", "stock")]
    assert {json.loads(r.read_text())["data"] for r in runs} == {data}
    assert [c for c in verify_folder(folder) if c.ok is False] == []
