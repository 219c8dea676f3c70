"""Modules that are given another class in place run its code after the cut, as in the stock network; at the root, where
no graph can be made of it, an error says so."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import surgeon
from surgeon.errors import SurgeryError
from tests.own_models.checks import images, noisy


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.gamma = nn.Conv2d(8, 8, 1), nn.Parameter(torch.rand(8, 1, 1))

    def scaled(self, x):
        return x * self.gamma

    def forward(self, x):
        return x + self.scaled(F.relu(self.conv(x)))


class Merging(Block):
    """Another forward, which shortens what goes on."""

    def forward(self, x):
        return super().forward(x)[:, :, ::2]


class Louder(Block):
    """The same forward, and another method that it calls."""

    def scaled(self, x):
        return 3 * super().scaled(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(Block(), Block())
        self.fc = nn.Linear(8, 5)

    def forward_features(self, x):
        return self.blocks(self.stem(x))

    def forward(self, x):
        return self.fc(self.forward_features(x).mean((2, 3)))


@pytest.fixture
def both():
    return copy.deepcopy(noisy(Net))


def _give(network, kind):
    for block in network.blocks:
        block.__class__ = kind


@pytest.mark.parametrize("kind", [Merging, Louder])
def test_a_block_of_another_class_runs_that_class(both, kind):
    stock, model = both
    before = stock(images())
    for network in both:
        _give(network, kind)
    wanted = stock(images())
    assert not torch.allclose(wanted, before)
    assert torch.equal(model(images()), wanted)
    assert torch.equal(copy.deepcopy(model)(images()), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(model))(images()), wanted)
    assert torch.equal(surgeon.fold(model)(images()), wanted)
    _give(model, Block)
    assert torch.equal(model(images()), before)


def test_a_class_that_only_parametrises_tensors_leaves_the_graphs(both):
    stock, model = both
    for network in both:
        parametrize.register_parametrization(network.blocks[1], "gamma", nn.Softplus())
    graph = model.graph
    assert torch.equal(model(images()), stock(images()))
    assert model.graph is graph
    parametrize.remove_parametrizations(model.blocks[1], "gamma")
    assert torch.equal(model(images()), stock(images()))


def test_a_class_above_the_networks_own_may_have_another_forward(both):
    stock, model = both

    class Doubled(type(model)):
        def forward(self, *args, **kwargs):
            return 2 * super().forward(*args, **kwargs)

    model.__class__ = Doubled
    assert torch.equal(model(images()), 2 * stock(images()))


def test_a_method_that_the_stock_forward_calls_is_refused_at_the_root(both):
    stock, model = both

    class Doubled(type(model)):
        def forward_features(self, x):
            return 2 * super().forward_features(x)

    was, model.__class__ = type(model), Doubled
    with pytest.raises(
        SurgeryError, match="class is Doubled now, with a forward_features of its own, and no graph"
    ):
        model(images())
    model.__class__ = was
    assert torch.equal(model(images()), stock(images()))
