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
