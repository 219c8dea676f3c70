"""Modules that a surgery put in and that code changed or exchanged afterwards: a folder gives the same network back, or
says that it cannot."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactWarning, FoldError, SurgeryError


def cut(recipe):
    torch.manual_seed(0)
    return surgeon.apply(surgeon.create_model("zoo/lenet5"), recipe).eval()


def outputs(model):
    with torch.no_grad():
        return model(torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)))


def share(model):
    model.relu1.share = 0.9


def pool(model):
    model.conv2.kap.pool = "max"


@pytest.mark.parametrize(("recipe", "change"), [("kwta", share), ("kap", pool)])
def test_settings_that_were_changed_after_the_cut_come_back(recipe, change, tmp_path):
    model = cut(recipe)
    before = outputs(model)
    change(model)
    wanted = outputs(model)
    assert not torch.equal(wanted, before)
    loaded = surgeon.load(surgeon.save(model, tmp_path / "a"))
    assert torch.equal(outputs(loaded), wanted)
    again = surgeon.load(surgeon.save(loaded, tmp_path / "b"))
    assert torch.equal(outputs(again), wanted)


def test_they_come_back_after_a_second_cut(tmp_path):
    model = cut("kwta")
    share(model)
    model = surgeon.apply(model, "kap", stack=True).eval()
    assert torch.equal(outputs(surgeon.load(surgeon.save(model, tmp_path / "a"))), outputs(model))


@pytest.mark.parametrize(
    ("recipe", "site", "module"),
    [
        ("kap", "conv2.kap", nn.Identity()),
        ("kwta", "relu1", nn.ReLU()),
        ("smooth-activation", "relu1", nn.ReLU()),
        ("input-noise", "input_noise", nn.Identity()),
    ],
)
def test_another_module_in_the_place_of_one_is_not_saved_as_it(recipe, site, module, tmp_path):
    model = cut(recipe)
    owner, _, name = site.rpartition(".")
    setattr(model.get_submodule(owner), name, module)
    with pytest.raises(
        SurgeryError, match=f"cannot be saved: at .* the surgery left .*{type(module).__name__}"
    ):
        surgeon.save(model, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_pooling_that_was_taken_out_does_not_fold():
    model = cut("kap")
    model.conv2.kap = nn.Identity()
    with pytest.raises(FoldError, match="KernelAveragePool in conv2.kap, and Identity stands there now"):
        surgeon.fold(model)
    assert torch.equal(outputs(surgeon.revert(model)), outputs(surgeon.revert(cut("kap"))))


def test_a_setting_that_no_folder_holds_is_told(tmp_path):
    model = cut("kwta")
    model.relu1.share = None
    with pytest.warns(ArtifactWarning, match=r"relu1\.share is None, and the surgery left 0\.1"):
        surgeon.save(model, tmp_path / "a")


def test_what_a_training_switches_is_no_change(tmp_path):
    model = cut({"op": "adversarial-noise", "source": "anl", "after": "conv"})
    surgeon.training.set_noise(model, False)
    folder = surgeon.save(model, tmp_path / "a")
    assert '"implants"' not in (folder / "config.json").read_text()
