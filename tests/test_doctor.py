"""`surgeon doctor`: what is the matter with a network is named, and nothing of it changes."""

import json

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.cli import main
from surgeon.pipeline import doctor, examine

SIZE = (3, 32, 32)


def cut(recipe):
    torch.manual_seed(0)
    stock = timm.create_model("test_resnet", num_classes=4)
    return surgeon.apply(stock, recipe, input_size=SIZE).eval()


def told(model, **more):
    return {c.name: c for c in examine(model, **more)}


def test_a_sound_network_passes_and_stays_as_it_is():
    model = cut("kap")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = told(model)
    assert list(found) == [
        "torch",
        "sites",
        "forward",
        "fold",
        "save",
        "export onnx",
        "export torch-export",
        "train",
    ]
    assert all(c.ok for c in found.values()), found
    assert "every site is as the surgery left it (" in found["sites"].detail
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and not model.training


def test_what_does_not_fold_is_told_and_a_stock_network_has_no_sites():
    found = told(cut("defective"))
    assert found["fold"].ok is None and found["train"].ok
    assert "no edit folds, as the plan says: " in found["fold"].detail and "defective" in found["fold"].detail
    found = told(timm.create_model("test_resnet", num_classes=4), input_size=SIZE)
    assert found["sites"].ok is None and found["fold"].ok is None and found["forward"].ok and found["save"].ok


def test_another_module_at_a_site_is_named():
    model = cut("kap")
    site = model.surgery.edits[-1].site
    owner, _, leaf = site.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Identity())
    found = told(model)
    assert (
        found["sites"].ok is False and site in found["sites"].detail and "Identity" in found["sites"].detail
    )


def test_numbers_that_are_none_and_the_state_of_torch():
    model = cut("anl")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = told(model)
    assert found["forward"].ok is False and "not finite" in found["forward"].detail
    assert "autocast on" in found["torch"].detail and "gradients off" in found["torch"].detail


def test_the_command(tmp_path, capsys, monkeypatch):
    surgeon.save(cut("kap+defective"), tmp_path / "out")
    found = examine(surgeon.load(tmp_path / "out"))
    asked = []
    monkeypatch.setattr(doctor, "examine", lambda network, **more: asked.append(type(network)) or found)
    said = []
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as stop:
            main(["doctor", str(tmp_path / "out"), *more])
        assert stop.value.code == 1
        said.append(capsys.readouterr().out)
    assert "FAILED" in said[0] and "fold" in said[0]
    assert {c["name"]: c["ok"] for c in json.loads(said[1])}["fold"] is False
    assert len(asked) == 2
