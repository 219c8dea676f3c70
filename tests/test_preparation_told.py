"""What a folder says of how its images are prepared, and of whose its weights are."""

import json

import numpy
import pytest
import timm
import torch
from PIL import Image

import surgeon
from surgeon.models import create_model, creating
from surgeon.models.preparation import OF_WEIGHTS, STRETCHED, resized_otherwise, resizing_of

SIZE = (3, 32, 32)
SMALL = {"channels": [4, 4, 8, 8]}
NET = "resnet18"


def told(folder):
    return json.loads((folder / "config.json").read_text())["pretrained_cfg"]


def pictures(folder, side=(40, 48)):
    draw = numpy.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in "ab":
            (folder / split / name).mkdir(parents=True)
            for i in range(4):
                pixels = draw.integers(0, 255, (*side, 3), dtype="uint8")
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("accelerate")
    from surgeon.pipeline import train
    from surgeon.recipe import load_recipe

    place = tmp_path_factory.mktemp("prepared")
    recipe = load_recipe("anl", ["training.epochs=1", "training.batch_size=4"])
    given = {"data": str(pictures(place / "images")), "input_size": SIZE, "device": "cpu"}
    return train([recipe], NET, place / "run", model_args=SMALL, **given).folder


def test_a_network_trained_here_is_shipped_with_the_resizing_of_its_training(run, tmp_path):
    from timm.data import create_transform, resolve_data_config

    from surgeon.data.decoding import to_bytes

    stock = surgeon.save(surgeon.fold(surgeon.load(run / "trained")), tmp_path / "stock")
    for folder in (
        run / "cut",
        run / "trained",
        stock,
        surgeon.save(surgeon.load(stock), tmp_path / "again"),
    ):
        found = told(folder)
        assert {k: found[k] for k in STRETCHED} == dict(STRETCHED)
        assert not [k for k in OF_WEIGHTS if k in found]
        assert found["mean"] and found["first_conv"] == "conv1"
    shipped = timm.create_model(f"local-dir:{stock}", pretrained=True)
    transform = create_transform(**resolve_data_config({}, model=shipped))
    picture = Image.open(run.parent / "images" / "test" / "a" / "0.png")
    mean, std = (torch.tensor(shipped.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
    ours = (to_bytes(picture, SIZE).float() / 255 - mean) / std
    assert torch.allclose(transform(picture), ours, atol=1e-6)


def test_random_weights_have_no_origin_and_pretrained_ones_keep_it(monkeypatch, tmp_path):
    known = timm.create_model(NET).pretrained_cfg
    assert known["tag"] and known["origin_url"]
    random = create_model(NET, num_classes=2)
    assert not [k for k in OF_WEIGHTS if k in random.pretrained_cfg]
    assert random.pretrained_cfg["interpolation"] == known["interpolation"]
    monkeypatch.setattr(creating, "_of_library", lambda *a, **k: timm.create_model(NET, num_classes=2))
    theirs = create_model(NET, num_classes=2, pretrained=True)
    saved = surgeon.save(theirs, tmp_path / "theirs")
    monkeypatch.undo()
    assert told(saved)["tag"] == known["tag"]
    assert surgeon.load(saved).pretrained_cfg["tag"] == known["tag"]
    assert told(surgeon.save(timm.create_model(NET), tmp_path / "own"))["tag"] == known["tag"]


def test_a_resizing_that_is_configured_and_not_done_is_a_remark(run, tmp_path):
    pytest.importorskip("torchattacks")
    from surgeon.pipeline import evaluate_target
    from surgeon.recipe import Evaluation

    def notes(target, **given):
        settings = Evaluation(attacks=("fgsm",), eps=0.01, samples=4)
        given = {"data": str(run.parent / "images"), "device": "cpu", **given}
        return evaluate_target(
            str(target), tmp_path / f"e{len([*tmp_path.iterdir()])}", settings, **given
        ).notes

    assert not [n for n in notes(run) if "stretched" in n]
    other = surgeon.save(
        create_model(NET, num_classes=2, input_size=SIZE, model_args=SMALL), tmp_path / "other"
    )
    (said,) = [n for n in notes(other) if "stretched" in n]
    assert said.startswith("images are stretched to 32×32 (bilinear), whatever their shape")
    assert "says a center crop of 95 %, bicubic" in said


def test_networks_without_a_configured_resizing_say_nothing():
    assert resizing_of(torch.nn.Linear(2, 2)) is None and resized_otherwise(create_model("zoo/lenet5")) == ""
