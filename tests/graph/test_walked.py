"""Code that goes through its modules and tensors by torch's walks, such as `self.parameters()`."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError

IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Adds what it computes by a walk to its outputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.gain = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), 1.0

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3))) + self.gain * self.walk()


class Parameters(Net):
    def walk(self):
        return sum(0.1 for _ in self.parameters())


class OfTheConvolution(Net):
    def walk(self):
        return sum(p.dim() for p in self.conv.parameters())


class Names(Net):
    def walk(self):
        return sum(0.1 * len(n) for n, _ in self.named_parameters())


class Buffers(Net):
    def walk(self):
        return sum((b.sum() for b in self.buffers()), torch.zeros(()))


class State(Net):
    def walk(self):
        return 0.1 * len(self.state_dict())


class Modules(Net):
    def walk(self):
        return sum(m.weight.square().sum() for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


class Dicts(Net):
    def walk(self):
        return 0.1 * (len(self._modules) + len(self.conv._modules) + len(self.conv._parameters))


COUNTING = (Parameters, OfTheConvolution, Names, Buffers, State, Modules, Dicts)


class Around(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.first, self.block = nn.Conv2d(3, 3, 1), block

    def forward(self, x):
        return self.block(self.first(x))


def network_of(kind, inside=False):
    torch.manual_seed(0)
    net = kind()
    return (Around(net) if inside else net).eval()


def _parameter(net):
    net.register_parameter("extra", nn.Parameter(torch.full((3,), 2.0)))


def _of_a_layer(net):
    net.conv.register_parameter("extra", nn.Parameter(torch.full((3,), 2.0)))


def _gone(net):
    net.conv.bias = None


def _buffer(net):
    net.register_buffer("extra", torch.full((3,), 2.0))


def _below_a_layer(net):
    net.conv.extra = nn.Linear(2, 2)
    nn.init.ones_(net.conv.extra.weight)


@pytest.mark.parametrize("inside", [False, True], ids=["root", "block"])
@pytest.mark.parametrize("change", [_parameter, _of_a_layer, _gone, _buffer, _below_a_layer])
@pytest.mark.parametrize("kind", COUNTING)
def test_what_comes_or_goes_after_the_cut_is_gone_through(kind, change, inside):
    stock = network_of(kind, inside)
    cut = surgeon.apply(stock, "noise", input_size=(3, 12, 12))
    before = cut(IMAGES)
    change(stock.block if inside else stock)
    change(cut.block if inside else cut)
    with torch.no_grad():
        torch.testing.assert_close(cut(IMAGES), stock(IMAGES))
        again = cut.__dict__.get("_remade", 0)
        assert cut(IMAGES).equal(cut(IMAGES)) and cut.__dict__.get("_remade", 0) == again
    assert before.shape == (2, 8)


@pytest.mark.parametrize("recipe", ["noise", "defective", "squeeze-excite"])
@pytest.mark.parametrize("kind", COUNTING)
def test_what_the_surgery_put_in_is_not_gone_through(kind, recipe):
    stock = network_of(kind, inside=True)
    cut = surgeon.apply(stock, recipe, input_size=(3, 12, 12))
    with torch.no_grad():
        before, plain = cut(IMAGES), stock(IMAGES)
        for one in (stock, cut):
            one.block.gain = 2.0  # the graphs are made anew, with the layers in the tree
        torch.testing.assert_close(cut(IMAGES) - before, stock(IMAGES) - plain)


class Penalty(Net):
    def walk(self):
        return sum(p.square().sum() for p in self.parameters())


class PenaltyOfState(Net):
    def walk(self):
        return sum(t.square().sum() for t in self.state_dict().values())


class PenaltyOfDetached(Net):
    def walk(self):
        return torch.stack([p.detach().norm() for p in self._parameters_of()]).sum()

    def _parameters_of(self):
        return [m._parameters["weight"] for m in (self.conv, self.fc)]


class ViewOfDetached(Net):
    def walk(self):
        return dict(self.named_parameters())["fc.bias"].detach()


PENALTIES = (Penalty, PenaltyOfState, PenaltyOfDetached, ViewOfDetached)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", PENALTIES)
def test_values_of_parameters_that_a_walk_gives_are_those_of_each_call(kind, frozen):
    stock = network_of(kind, inside=True).requires_grad_(not frozen)
    cut = surgeon.apply(stock, "noise", input_size=(3, 12, 12))
    state = {n: 2 * t for n, t in stock.state_dict().items()}
    for one in (stock, cut):
        one.load_state_dict(state, strict=one is stock)
        one.requires_grad_(True)
        one(IMAGES).sum().backward()
    torch.testing.assert_close(cut(IMAGES), stock(IMAGES))
    for mine, its in zip(cut.parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", PENALTIES)
def test_a_network_that_computes_with_them_itself_is_refused_with_the_way(kind, frozen):
    stock = network_of(kind).requires_grad_(not frozen)
    with pytest.raises(SurgeryError, match=r"as parameters\(\) or a dict gives it.* a module of its own"):
        surgeon.apply(stock, "noise", input_size=(3, 12, 12))
