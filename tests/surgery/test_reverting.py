"""What comes back is as the rest of the network is now."""

import copy

import pytest
import torch

import surgeon
from tests.interop.conftest import SIZE, _stock

RECIPES = ("wm-unsharp", "small-image", "smooth-init")


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_in_another_precision(recipe, dtype):
    stock = _stock()
    cut = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    back = surgeon.revert(cut.to(dtype))
    wanted = copy.deepcopy(stock).to(dtype).eval()
    assert all(t.dtype == wanted.state_dict()[k].dtype for k, t in back.state_dict().items())
    x = torch.randn(2, *SIZE).to(dtype)
    assert torch.equal(back(x), wanted(x))


@pytest.mark.parametrize("recipe", RECIPES)
def test_frozen(recipe):
    cut = surgeon.apply(_stock(), recipe, input_size=SIZE)
    assert all(p.requires_grad for p in surgeon.revert(cut).parameters())
    assert not [n for n, p in surgeon.revert(cut.requires_grad_(False)).named_parameters() if p.requires_grad]


@pytest.mark.parametrize("recipe", RECIPES)
def test_frozen_before_the_cut(recipe):
    cut = surgeon.apply(copy.deepcopy(_stock()).requires_grad_(False), recipe, input_size=SIZE)
    assert not any(p.requires_grad for p in surgeon.revert(cut).parameters())


def test_frozen_one_by_one():
    cut = surgeon.apply(_stock(), "smooth-init", input_size=SIZE)
    cut.conv1.get_parameter("0.weight").requires_grad_(False)
    back = surgeon.revert(cut)
    assert [n for n, p in back.named_parameters() if not p.requires_grad] == ["conv1.0.weight"]


def test_on_another_device_and_in_evaluation():
    cut = surgeon.apply(_stock(), "wm-unsharp", input_size=SIZE).eval().to("meta")
    back = surgeon.revert(cut)
    assert all(t.is_meta for t in back.state_dict().values()) and not any(m.training for m in back.modules())
