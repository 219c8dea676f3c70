"""The modes of a network's modules are as they were, whatever was done in between."""

import pytest
import torch
from torch import nn

from surgeon.kept_modes import mode, modes_kept


class Redirecting(nn.Module):
    """Keeps its mode elsewhere, as TorchScript's modules do."""

    def __init__(self):
        self.__dict__["elsewhere"] = True
        super().__init__()
        del self.__dict__["training"]

    def __getattr__(self, name):
        return self.__dict__["elsewhere"] if name == "training" else super().__getattr__(name)

    def __setattr__(self, name, value):
        if name == "training":
            self.__dict__["elsewhere"] = value
        else:
            super().__setattr__(name, value)


@pytest.fixture
def network():
    """In training mode, but for one module."""
    made = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), Redirecting())
    made[1].eval()
    return made


def modes(network):
    return [m.training for m in network.modules()]


def test_each_module_has_its_own_mode_back_also_after_an_error(network):
    other, before = nn.Dropout().eval(), modes(network)
    with pytest.raises(ZeroDivisionError), modes_kept(network, other):
        network.eval()
        other.train()
        raise ZeroDivisionError
    assert modes(network) == before and not other.training


@pytest.mark.parametrize("wanted", [True, False])
def test_all_are_in_one_mode_inside(network, wanted):
    before = modes(network)
    with pytest.raises(ZeroDivisionError), mode(network, wanted):
        assert modes(network) == [wanted] * 4
        raise ZeroDivisionError
    assert modes(network) == before


def test_a_module_that_keeps_its_mode_elsewhere_is_asked_there(network):
    with mode(network, False):
        assert not network[2].__dict__["elsewhere"]
    assert network[2].__dict__["elsewhere"] and "training" not in network[2].__dict__
    network.eval()
    assert modes(network) == [False] * 4


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_drops_nothing_in_evaluation_and_follows_its_next_mode():
    class Dropping(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x, 0.999, self.training)

    network, x = nn.Sequential(torch.jit.script(Dropping())), torch.ones(4, 64)
    with mode(network, False):
        assert torch.equal(network(x), x)
    assert network[0].training and not torch.equal(network(x), x)
    network.eval()
    assert not network[0].training and torch.equal(network(x), x)
