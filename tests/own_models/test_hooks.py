"""Hooks of the user's: kept by the cut, called once whenever their module is called, and never folded over."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import FoldError
from tests.own_models.checks import KAP, SIZE, Plain, images, out


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x):
        return self.conv(x).relu()


def plain():
    return Plain(Body()).eval()


class Calls:
    """Counts its calls, and changes nothing; shared by copies of the network, as functions are."""

    def __init__(self):
        self.number = 0

    def __call__(self, *_):
        self.number += 1

    def __deepcopy__(self, memo):
        return self


PLACES = ["", "conv", "norm", "conv2", "conv2.conv", "head"]
ORDER = ["register_forward_hook", "register_forward_pre_hook"]


@pytest.mark.parametrize("register", ORDER)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "recipe", [KAP, "noise", {"op": "kap", "start": "naive", "select": {"include": "conv"}}]
)
def test_an_observer_is_called_once_a_pass(place, register, recipe):
    model, calls = plain(), Calls()
    getattr(model.get_submodule(place), register)(calls)
    cut = surgeon.apply(model, recipe, input_size=SIZE).eval()
    for network in (cut, surgeon.revert(cut), model):
        for _ in range(2):
            calls.number = 0
            out(network, images())
            assert calls.number == 1
    cut.train()
    calls.number = 0
    out(cut, images())
    assert calls.number == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_hook_that_changes_the_output_still_does(place):
    model = plain()
    model.get_submodule(place).register_forward_hook(lambda module, args, output: output * 2)
    x = images()
    assert torch.equal(out(surgeon.apply(model, "noise", input_size=SIZE).eval(), x), out(model, x))
    cut = surgeon.apply(model, KAP, input_size=SIZE).eval()
    assert [e.site for e in cut.surgery.edits] == ["conv", "conv2.conv"]
    assert torch.equal(out(surgeon.revert(cut), x), out(model, x))
    if place in ("conv", "conv2.conv"):
        with pytest.raises(
            FoldError, match="a forward hook of yours stands between the module and the layer; take it off"
        ):
            surgeon.fold(cut)
        cut.get_submodule(place)._forward_hooks.clear()
    assert torch.allclose(out(surgeon.fold(cut).eval(), x), out(cut, x), atol=1e-5)


@pytest.mark.parametrize("place", ["conv", "conv2", "conv2.conv"])
def test_backward_hooks_see_one_gradient_a_pass(place):
    model, calls = plain(), Calls()
    model.get_submodule(place).register_full_backward_hook(calls)
    cut = surgeon.apply(model, KAP, input_size=SIZE)
    cut(images()).sum().backward()
    assert calls.number == 1


def test_a_hooked_part_is_cut_inside_and_named_as_before():
    model = plain()
    names = [s.name for s in surgeon.sites(model, input_size=SIZE)]
    model.conv2.register_forward_hook(Calls())
    assert [s.name for s in surgeon.sites(model, input_size=SIZE)] == names
    cut = surgeon.apply(model, KAP, input_size=SIZE)
    assert set(model.state_dict()) <= set(cut.state_dict())
    assert type(surgeon.revert(cut).conv2) is Body
    assert type(surgeon.fold(cut).conv2) is Body


def test_a_handle_of_the_original_is_the_originals_alone():
    model, calls = plain(), Calls()
    handle = model.conv.register_forward_hook(calls)
    cut = surgeon.apply(model, KAP, input_size=SIZE)
    handle.remove()
    calls.number = 0
    out(model, images())
    assert calls.number == 0
    out(cut, images())
    assert calls.number == 1
