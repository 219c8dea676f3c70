"""Hooks on a state dict that other code put on a network, a layer or a norm, before the cut or after it."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryWarning

SIZE = (3, 12, 12)
CALLED = []


def _saving(module, prefix, keep_vars):
    CALLED.append("saving")


def _saved(module, state, prefix, metadata):
    CALLED.append("saved")


def _loading(module, state, prefix, *rest):
    CALLED.append("loading")


def _loaded(module, keys):
    CALLED.append("loaded")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.Linear(9, 8)

    def forward(self, x):
        return self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))


def network():
    torch.manual_seed(0)
    return Net().eval()


def hooked(module):
    module.register_state_dict_pre_hook(_saving)
    module.register_state_dict_post_hook(_saved)
    module.register_load_state_dict_pre_hook(_loading)
    module.register_load_state_dict_post_hook(_loaded)


def called(model):
    CALLED.clear()
    model.load_state_dict(model.state_dict())
    return sorted(CALLED)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("place", ["", "conv", "bn"])
@pytest.mark.parametrize("recipe", ["kap", "anl", "noise"])
def test_they_are_called_in_copies_pickles_and_what_is_folded_or_reverted(recipe, place, before):
    model = network()
    if before:
        hooked(model.get_submodule(place))
    cut = surgeon.apply(model, recipe, input_size=SIZE)
    if not before:
        hooked(cut.get_submodule(place))
    every = ["loaded", "loading", "saved", "saving"]
    for one in (
        cut,
        copy.deepcopy(cut),
        copy.copy(cut),
        pickle.loads(pickle.dumps(cut)),
        surgeon.fold(cut),
        surgeon.revert(cut),
    ):
        assert called(one) == every


def test_those_of_a_layer_that_is_replaced_rest_with_it_and_a_warning_says_so():
    model = network()
    hooked(model.conv)
    with pytest.warns(SurgeryWarning, match=r"conv: hooks on its state dict, .* surgeon\.revert"):
        cut = surgeon.apply(model, "wm-unsharp-all", input_size=SIZE)
    assert called(cut) == []
    for one in (cut, copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        assert called(surgeon.revert(one)) == ["loaded", "loading", "saved", "saving"]
    hooked(model.bn)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurgeryWarning)
        surgeon.apply(model, "noise", input_size=SIZE)
