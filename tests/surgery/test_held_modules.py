"""Modules that a network registers and also holds in a plain list, dict or attribute."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import surgeon

SIZE = (3, 8, 8)


class Slots:
    __slots__ = ("first", "rest")

    def __init__(self, first, rest):
        self.first, self.rest = first, rest


HOLD = {
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: ((a, 1), (b, 2)),
    "dict": lambda a, b: {"first": a, "rest": [b]},
    "object": lambda a, b: SimpleNamespace(first=a, rest=(b,)),
    "slots": lambda a, b: Slots(a, [b]),
    "slot of the module": lambda a, b: [a, b],
}
CALL = {
    "list": lambda held: held,
    "tuple": lambda held: [m for m, _ in held],
    "dict": lambda held: [held["first"], *held["rest"]],
    "object": lambda held: [held.first, *held.rest],
    "slots": lambda held: [held.first, *held.rest],
    "slot of the module": lambda held: held,
}


class Net(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc, self.how = nn.Linear(16, 5), how
        self.order = HOLD[how](self.c1, self.c2)

    def forward(self, x):
        for c in CALL[self.how](self.order):
            x = F.relu(c(x))
        return self.fc(x.mean((2, 3)))


class InASlot(Net):
    __slots__ = ("order",)


def network_of(how):
    torch.manual_seed(0)
    return (InASlot if how == "slot of the module" else Net)(how).eval()


class Parts(nn.Module):
    """No graph shows it as a whole, and it holds parts that have graphs."""

    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.parts = [self.one, self.two]

    def forward(self, *given):
        x = given[0]
        for part in self.parts:
            x = part(x)
        return x.mean((2, 3))


@pytest.fixture
def x():
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", HOLD)
def test_a_folded_network_calls_the_folded_modules(how, x):
    cut = surgeon.apply(network_of(how), "kap", sigma=0.0, input_size=SIZE).eval()
    folded = surgeon.fold(cut).eval()
    assert CALL[how](folded.order) == [folded.c1, folded.c2]
    with torch.no_grad():
        torch.testing.assert_close(folded(x), cut(x))


@pytest.mark.parametrize("how", HOLD)
def test_a_cut_network_is_copied_pickled_and_reverted(how, x):
    stock = network_of(how)
    cut = surgeon.apply(stock, "wm-unsharp", input_size=SIZE).eval()
    assert CALL[how](cut.order) == [cut.c1, cut.c2]
    for again in (pickle.loads(pickle.dumps(cut)), copy.deepcopy(cut)):
        assert CALL[how](again.order) == [again.c1, again.c2]
        assert torch.equal(again.eval()(x), cut(x))
    back = surgeon.revert(cut).eval()
    assert CALL[how](back.order) == [back.c1, back.c2]
    assert torch.equal(back(x), stock(x))
    assert CALL[how](stock.order) == [stock.c1, stock.c2]


def test_parts_with_graphs_are_held_with_them(x):
    torch.manual_seed(0)
    stock = Parts().eval()
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE).eval()
    assert cut.parts == [cut.one, cut.two] and isinstance(cut.one, torch.fx.GraphModule)
    with torch.no_grad():
        assert not torch.allclose(cut(x), stock(x))
        torch.testing.assert_close(surgeon.fold(cut).eval()(x), cut(x))
        assert torch.equal(surgeon.revert(cut).eval()(x), stock(x))
