"""Dicts of modules and objects that other code exchanges as a whole after the cut."""

import argparse
import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError

IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.Linear(9, 8)
        self.gain, self.options = 1.0, argparse.Namespace(shift=1.0)

    def forward(self, x):
        h = self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))
        return h * self.gain + self.options.shift


class Around(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.first, self.block = nn.Conv2d(3, 3, 1), block

    def forward(self, x):
        return self.block(self.first(x))


def network_of(seed, inside=False):
    torch.manual_seed(seed)
    net = Net()
    return (Around(net) if inside else net).eval()


def _whole(net):
    net.__dict__ = dict(net.__dict__, gain=2.0)


def _updated(net):
    net.__dict__.update(gain=2.0)


def _options(net):
    net.options.__dict__ = {"shift": 3.0}


def _children_copied(net):
    net.__dict__["_modules"] = copy.deepcopy(net._modules)
    net.fc.weight.data *= 2


def _of_a_layer(net):
    net.conv.__dict__ = network_of(7).conv.__dict__


def _of_a_norm(net):
    net.bn.__dict__.update(nn.BatchNorm2d(9, eps=0.1).eval().__dict__)


def _another_children(net):
    net.__dict__["_modules"] = network_of(7)._modules


def _anothers(net):
    net.__dict__ = network_of(7).__dict__


KEPT = (_whole, _updated, _options, _children_copied, _of_a_layer, _of_a_norm)


@pytest.mark.parametrize("inside", [False, True], ids=["root", "block"])
@pytest.mark.parametrize("change", KEPT)
@pytest.mark.parametrize("recipe", ["anl", "noise"])
def test_what_is_in_the_new_dict_counts_and_layers_follow(recipe, change, inside):
    stock = network_of(0, inside)
    cut = surgeon.apply(stock, recipe, input_size=(3, 12, 12))
    before = cut(IMAGES)
    for one in (stock, cut):
        change(one.block if inside else one)
    with torch.no_grad():
        after = cut(IMAGES)
        torch.testing.assert_close(after, stock(IMAGES))
        assert (after - before).abs().max() > 0.01
        again = cut.__dict__.get("_remade", 0)
        assert cut(IMAGES).equal(after) and cut.__dict__.get("_remade", 0) == again
    layer = next(n for n, _ in cut.named_modules() if n.endswith(recipe) and "input" not in n)
    assert layer in {e.layer for e in cut.surgery.edits}


@pytest.mark.parametrize("change", [_another_children, _anothers])
def test_inside_a_network_another_ones_dict_gets_the_layers(change):
    stock = network_of(0, True)
    cut = surgeon.apply(stock, "kap", input_size=(3, 12, 12))
    for one in (stock, cut):
        change(one.block)
    assert cut(IMAGES).shape == (2, 8)
    assert hasattr(cut.block.conv, "kap")
    torch.testing.assert_close(surgeon.revert(cut)(IMAGES), stock(IMAGES))


def test_another_networks_whole_dict_is_refused_with_what_works():
    cut = surgeon.apply(network_of(0), "wm-unsharp-all", input_size=(3, 12, 12))
    cut.__dict__ = network_of(7).__dict__
    with pytest.raises(SurgeryError, match=r"whole __dict__ was exchanged .* load_state_dict"):
        cut(IMAGES)
