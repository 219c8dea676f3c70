"""torch.export of a rewritten network is of a call to it: with its hooks, its arguments, and its root module.

torch.export interprets the graph of a GraphModule instead, and leaves those out.
"""

import copy

import pytest
import torch
from torch import nn
from torch.export import export, unflatten

from tests.own_models.checks import images, noisy


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.fc = nn.Linear(8, 5)

    def forward(self, x, scale=1.0, bias=None):
        y = self.fc(self.stem(x).mean((2, 3))) * scale
        return y if bias is None else y + bias


@pytest.fixture
def both():
    return copy.deepcopy(noisy(Net))


def test_hooks_on_the_network_are_exported(both):
    stock, model = both
    for network in both:
        network.register_forward_pre_hook(lambda module, given: (given[0] / 2,))
        network.register_forward_hook(lambda module, given, out: out * 3)
    assert torch.equal(export(model, (images(),)).module()(images()), stock(images()))


def test_arguments_are_exported_as_they_are_given(both):
    stock, model = both
    given = dict(scale=3.0, bias=torch.ones(5))
    model(images(), **given)  # graphs for other arguments are made before an export
    assert torch.equal(
        export(model, (images(),), given).module()(images(), **given), stock(images(), **given)
    )


def test_the_modules_of_an_exported_program(both):
    stock, model = both
    made = unflatten(export(model, (images(),)))
    assert torch.equal(made(images()), stock(images()))
    assert [n for n, _ in made.named_children()] == ["input_noise", "stem", "fc"]
    assert torch.fx.Interpreter(model).graph is model.graph  # another interpreter has the graph
