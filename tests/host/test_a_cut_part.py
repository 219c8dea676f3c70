"""A module that holds a rewritten network and had no surgery itself: what its record would have to say is refused."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import surgeon
from surgeon.errors import SurgeryError
from surgeon.evaluation import assess
from surgeon.pipeline import examine
from surgeon.recipe import Evaluation

SIZE = (3, 32, 32)
HOLDERS = {
    "a Sequential": (lambda n: nn.Sequential(nn.Identity(), n), r"model\[1\]"),
    "DataParallel": (nn.DataParallel, r"model\.module"),
    "AveragedModel": (AveragedModel, r"model\.module"),
    "torch.compile": (lambda n: torch.compile(n, backend="eager"), r"model\._orig_mod"),
}


def stock():
    return surgeon.create_model(
        "resnet18", num_classes=4, input_size=SIZE, model_args={"channels": [8] * 4}
    ).eval()


def cut(recipe="kwta"):
    return surgeon.apply(stock(), recipe, input_size=SIZE).eval()


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_module_around_a_rewritten_network_is_not_saved_as_one_without_surgery(tmp_path, holder):
    make, part = HOLDERS[holder]
    with pytest.raises(
        SurgeryError, match=f"{part} in it has had surgery by itself.*surgeon.save\\({part}, folder"
    ):
        surgeon.save(make(cut()), tmp_path / "network")
    assert not (tmp_path / "network").exists()


def test_a_rewritten_network_in_a_rewritten_one_is_not_saved(tmp_path):
    network = cut("noise")
    network.teacher = cut()
    with pytest.raises(SurgeryError, match="has had surgery by itself"):
        surgeon.save(network, tmp_path / "network")


@pytest.mark.parametrize("recipe", ["kwta", "defective"])
def test_a_folder_is_loaded_onto_networks_before_any_surgery_alone(tmp_path, recipe):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = surgeon.save(nn.Sequential(nn.Identity(), stock()), tmp_path / "whole")
    with pytest.raises(
        SurgeryError, match=r"before any surgery, and model\[1\] in it has had.*revert\(model\[1\]\)"
    ):
        surgeon.load(folder, model=nn.Sequential(nn.Identity(), cut(recipe)))
    for folder in (surgeon.save(stock(), tmp_path / "stock"), surgeon.save(cut(recipe), tmp_path / "cut")):
        with pytest.raises(SurgeryError, match=r"this ResNet has had surgery: .*surgeon.revert\(model\)"):
            surgeon.load(folder, model=cut(recipe))


def test_adding_to_a_module_around_a_rewritten_network_is_refused():
    with pytest.raises(SurgeryError, match=r"revert that part first: surgeon.revert\(model\[1\]\)"):
        surgeon.apply(nn.Sequential(nn.Identity(), cut()), "noise", input_size=SIZE, stack=True)


def test_an_examination_says_where_the_surgery_is():
    checks = {c.name: c for c in examine(nn.Sequential(nn.Identity(), cut()), input_size=SIZE)}
    assert checks["sites"].ok is None and "but that of model[1]" in checks["sites"].detail
    assert checks["save"].ok is False and "surgeon.save(model[1], folder)" in checks["save"].detail


def test_an_assessment_of_a_module_around_a_rewritten_network_says_that_it_knows_nothing_of_the_surgery(
    tmp_path,
):
    images, labels = torch.rand(4, *SIZE), torch.arange(4)
    settings = Evaluation(suite="basic", attacks=["fgsm"])
    with pytest.warns(UserWarning, match=r"model\[1\] in it has had surgery by itself"):
        assess(nn.Sequential(nn.Identity(), cut()), images, labels, settings, tmp_path / "results")
