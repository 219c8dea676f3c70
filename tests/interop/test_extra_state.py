"""Networks whose state dicts have more in them than tensors."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.errors import ArtifactError, ArtifactWarning, RecipeError
from surgeon.recipe import Training
from surgeon.training import fit

SIZE = (3, 12, 12)


class Counting(nn.Conv2d):
    """It counts its calls, and a state dict has the count."""

    kept = staticmethod(lambda steps: {"steps": steps})
    steps = 0

    def get_extra_state(self):
        return self.kept(self.steps)

    def set_extra_state(self, state):
        self.steps = int(state["steps"] if isinstance(state, dict) else state)


class InTensors(Counting):
    kept = staticmethod(torch.tensor)


class Net(nn.Sequential):
    def __init__(self, kind=Counting) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3), nn.ReLU(), kind(16, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.epoch = 3

    def get_extra_state(self):
        return {"epoch": self.epoch}

    def set_extra_state(self, state):
        self.epoch = state["epoch"]


def said(network):
    return (network.epoch, network.get_submodule("2").steps)


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = Net()
    made[2].steps = 7
    return made


@pytest.mark.parametrize("recipe", ["kap", "defective", "noise"])
def test_extra_state_goes_along(net, recipe):
    plan = surgeon.plan(net, recipe, input_size=SIZE)
    cut = surgeon.apply(net, plan)
    made = [cut, copy.deepcopy(cut), pickle.loads(pickle.dumps(cut)), surgeon.revert(cut)]
    made += [surgeon.fold(cut)] if recipe != "defective" else []
    for network in made:
        assert said(network) == (3, 7)
        state = network.state_dict()
        assert state["_extra_state"] == {"epoch": 3} and state["2._extra_state"] == {"steps": 7}
        network.epoch, network.get_submodule("2").steps = 0, 0
        network.load_state_dict(state)
        assert said(network) == (3, 7)
    net.epoch = 4
    assert surgeon.plan(net, recipe, input_size=SIZE).fingerprint == plan.fingerprint
    assert all(c.ok is not False for c in surgeon.verify(net, cut))


def test_a_folder_holds_tensors_and_says_what_it_does_not(net, tmp_path):
    cut = surgeon.apply(net, "kap", input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    with pytest.warns(
        ArtifactWarning, match=r"_extra_state \(and 1 more\) is not a tensor, and was left out"
    ):
        surgeon.save(cut, tmp_path / "kap")
    fresh = Net()
    fresh.epoch = 9
    loaded = surgeon.load(tmp_path / "kap", model=fresh)
    assert torch.equal(loaded(x), cut(x)) and said(loaded) == (9, 0)


def test_extra_state_that_is_a_tensor_is_in_the_folder(tmp_path):
    stock = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), InTensors(16, 5, 3)).eval()
    stock[2].steps = 7
    cut = surgeon.apply(stock, "kap", input_size=SIZE)
    surgeon.save(cut, tmp_path / "kap")
    other = copy.deepcopy(stock)
    other[2].steps = 0
    assert surgeon.load(tmp_path / "kap", model=other).get_submodule("2").steps == 7


def test_a_training_keeps_it_and_takes_it_back(net, tmp_path):
    cut = surgeon.apply(net, "kap", input_size=SIZE)
    data = Images(torch.rand(16, *SIZE), torch.randint(0, 5, (16,)))
    settings = Training(epochs=1, batch_size=8)
    fit(cut, data, data, settings, folder=tmp_path / "a")
    assert said(cut) == (3, 7)
    twin = surgeon.apply(net, "kap", input_size=SIZE)
    twin.epoch = 0
    fit(twin, data, data, settings, folder=tmp_path / "a")
    assert said(twin) == (3, 7)
    with pytest.raises(RecipeError, match="ema=0.5 averages tensors, and _extra_state is not a tensor"):
        fit(cut, data, data, Training(epochs=1, batch_size=8, ema=0.5))
    net.epoch = object()
    with pytest.raises(ArtifactError, match="_extra_state is a dict, which no checkpoint holds"):
        fit(surgeon.apply(net, "kap", input_size=SIZE), data, None, settings, folder=tmp_path / "b")
