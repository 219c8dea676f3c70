"""Functions that client code puts among a network's modules, as `model._modules["relu"] = torch.tanh`."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ModelError, SurgeonError

SIZE = (3, 16, 16)


class Net(nn.Module):
    """Its code branches on sizes, so that another size needs another graph, and reads a setting."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.relu, self.fc = nn.ReLU(), nn.Linear(32, 10)
        self.scale = 1.0

    def forward(self, x):
        x = self.relu(self.conv1(x)) * self.scale
        if x.shape[-1] > 8:
            x = x[..., 1:-1]
        return self.fc(self.conv2(x).mean((2, 3)))


class Absent:
    def __bool__(self):
        return False


OBJECTS = {"relu": torch.tanh, "conv2.extra": torch.tanh, "absent": Absent()}


def put(network, place, value):
    owner, _, name = place.rpartition(".")
    network.get_submodule(owner)._modules[name] = value
    return network


def images(side=16):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


DOORS = {
    "save": lambda cut, folder: surgeon.save(cut, folder / "saved"),
    "fold": lambda cut, folder: surgeon.fold(cut),
    "revert": lambda cut, folder: surgeon.revert(cut),
    "export": lambda cut, folder: surgeon.export(cut, folder / "net.pt2"),
    "verify": lambda cut, folder: surgeon.verify(cut),
    "apply": lambda cut, folder: surgeon.apply(cut, "noise", stack=True),
    "another size": lambda cut, folder: cut(images(8)),
}


@pytest.mark.parametrize("place", OBJECTS)
@pytest.mark.parametrize("door", DOORS)
def test_a_door_that_cannot_walk_over_it_names_its_place(place, door, tmp_path):
    cut = surgeon.apply(Net().eval(), "noise", input_size=SIZE).eval()
    put(cut, place, OBJECTS[place])
    cut(images())
    copy.deepcopy(cut)(images())
    with pytest.raises(ModelError, match=f"^{place} of this Net is not an nn.Module.*put a module there"):
        DOORS[door](cut, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call", [partial(surgeon.apply, recipe="noise"), partial(surgeon.plan, recipe="noise")]
)
def test_a_stock_network_with_one_is_refused_with_its_place(call):
    with pytest.raises(ModelError, match="^relu of this Net is not an nn.Module"):
        call(put(Net(), "relu", torch.tanh), input_size=SIZE)


def test_graphs_that_would_have_to_be_made_anew_name_it():
    cut = surgeon.apply(Net().eval(), "noise", input_size=SIZE).eval()
    put(cut, "relu", torch.tanh)
    cut.scale = 2.0
    with pytest.raises(SurgeonError, match="relu of this Net is not an nn.Module"):
        cut(images())


def test_layers_still_follow_their_modules():
    class Around(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    cut = surgeon.apply(Net().eval(), "defective", input_size=SIZE).eval()
    put(cut, "relu", torch.tanh)
    before = cut(images())
    cut.conv2 = Around(cut.conv2)
    assert torch.allclose(cut(images()), before, atol=1e-6)
    cut.moved, cut.conv2 = cut.conv2, nn.Conv2d(32, 32, 3, padding=1)
    with pytest.raises(SurgeonError, match="conv2, with .* behind it, stands at moved now"):
        cut(images())
