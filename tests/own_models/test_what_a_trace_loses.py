"""Networks whose Python code does what no graph holds: cut around it, they do it still, or are refused with
what it is."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SelectionError, SurgeonError
from surgeon.graph.tracing.trace import trace
from tests.own_models.losing import DRAWING, RECIPES, SIZE, Base, Drawing, Frozen, body, images

# -- gradients and precision ----------------------------------------------------------------------


class FrozenByName(Base):
    @torch.no_grad()
    def features(self, x):
        return super().features(x)

    def forward(self, x):
        return self.fc(self.features(x))


class FrozenBySwitch(Base):
    def forward(self, x):
        torch.set_grad_enabled(False)
        try:
            h = self.features(x)
        finally:
            torch.set_grad_enabled(True)
        return self.fc(h)


class Reversed(Base):
    """Its gradients are turned by an autograd.Function."""

    class Turn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, grad):
            return -grad

    def forward(self, x):
        return self.fc(self.Turn.apply(self.features(x)))


class Inside(nn.Module):
    """Gradients off in a block below the network."""

    def __init__(self):
        super().__init__()
        self.inner, self.after, self.fc = Frozen(), body(), nn.Linear(16, 5)

    def forward(self, x):
        return self.inner(x) + self.fc(self.after(x).mean((2, 3)))


def gradients(network, x):
    network.train()(x).sum().backward()
    found = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return found


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", [Frozen, FrozenByName, FrozenBySwitch, Inside])
def test_gradients_that_are_switched_off_stay_off(kind, recipe):
    net = kind()
    cut = surgeon.apply(net, recipe, input_size=SIZE)
    assert cut.surgery.edits
    wanted = set(gradients(copy.deepcopy(net), images()))
    assert 0 < len(wanted) < len(list(net.parameters()))
    found = gradients(cut, images())
    stock = {n for n, _ in net.named_parameters()}
    assert {n for n in found if n in stock and "body" in n} == {n for n in wanted if "body" in n}
    assert {"fc.weight", "fc.bias"} <= set(found)


def test_an_autograd_function_keeps_its_backward():
    net = Reversed().double()
    cut = surgeon.apply(net, "anl", input_size=SIZE)
    wanted, found = gradients(copy.deepcopy(net), images().double()), gradients(cut, images().double())
    found = {n: g for n, g in found.items() if n in wanted}
    assert wanted.keys() == found.keys()
    assert all(torch.allclose(wanted[n], found[n], rtol=1e-9, atol=1e-12) for n in wanted)
    assert float(wanted["body.3.weight"].abs().max()) > 1e-6


class Enabled(Base):
    def forward(self, x):
        with torch.enable_grad():
            return self.fc(self.features(x))


class OutOfAutocast(Base):
    def forward(self, x):
        h = self.features(x)
        with torch.autocast("cpu", enabled=False):
            return self.fc(h.float())


class Asking(Base):
    """Another output where a state of torch's is another."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def forward(self, x):
        h = self.fc(self.features(x))
        return h if self.ask() else h.softmax(1)


ASKING = {
    "gradients": lambda: torch.is_grad_enabled(),
    "inference": lambda: torch.is_inference_mode_enabled(),
    "autocast": lambda: torch.is_autocast_enabled("cpu"),
}


@pytest.mark.parametrize("recipe", ["noise", *RECIPES])
@pytest.mark.parametrize("make", [Enabled, OutOfAutocast, *(lambda a=a: Asking(a) for a in ASKING.values())])
def test_torchs_state_acts_as_in_the_stock_network(make, recipe):
    net = make().eval()
    cut = surgeon.apply(net, recipe, input_size=SIZE).eval()
    assert cut.surgery.edits
    states = [
        torch.no_grad,
        torch.enable_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", torch.bfloat16),
    ]
    for state in states:
        with state():
            wanted, found = net(images()), cut(images())
        assert found.dtype == wanted.dtype
        assert found.requires_grad == wanted.requires_grad
        sums = [t.detach().double().sum(1) for t in (wanted, found)]
        probable = [torch.allclose(s, torch.ones_like(s), atol=0.05) for s in sums]
        assert probable[0] == probable[1]
        if recipe == "noise":
            assert torch.equal(wanted, found)


# -- random numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("draw", DRAWING)
def test_random_numbers_are_drawn_at_each_call(draw, recipe):
    net = Drawing(DRAWING[draw])
    state = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()
    cut = surgeon.apply(net, recipe, input_size=SIZE)
    assert random.getstate() == state[0]
    assert np.random.get_state()[1].tobytes() == state[1]
    assert torch.equal(torch.get_rng_state(), state[2])
    assert cut.surgery.edits
    cut.train()
    assert len({round(cut(images()).sum().item(), 3) for _ in range(40)}) > 1
    cut.eval()
    assert len({round(cut(images()).sum().item(), 3) for _ in range(3)}) == 1


def test_a_reason_names_the_line_that_draws():
    with pytest.raises(SurgeonError, match=r"draws numbers by random, .*losing.py:\d+, .*random.random\(\)"):
        trace(Drawing(DRAWING["random"]))


# -- what a forward writes ------------------------------------------------------------------------


class Counting(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("centre", torch.zeros(16))

    def forward(self, x):
        h = self.features(x)
        self.steps += 1
        self.centre = 0.9 * self.centre + 0.1 * h.detach().mean(0)
        return self.fc(h - self.centre)


class Scaling(Base):
    """Its own numbers alone decide what it writes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x):
        self.scale = self.scale * 0.5
        return self.fc(self.features(x)) * self.scale


class Averaging(nn.Module):
    """A target that follows the network, as in BYOL."""

    def __init__(self):
        super().__init__()
        self.online, self.target = body(), body()

    def forward(self, x):
        with torch.no_grad():
            for p, q in zip(self.target.parameters(), self.online.parameters(), strict=True):
                p.mul_(0.9).add_(q, alpha=0.1)
            t = self.target(x)
        return self.online(x).mean((2, 3)), t.mean((2, 3))


class Deciding(Base):
    """A branch on a buffer's value."""

    def __init__(self):
        super().__init__()
        self.register_buffer("warm", torch.tensor(0))

    def forward(self, x):
        h = self.fc(self.features(x))
        return h if self.warm else h.softmax(1)


WRITING = (Counting, Scaling, Averaging)
WRITTEN = [
    (kind, recipe) for kind in WRITING for recipe in RECIPES if (kind, recipe) != (Averaging, "wm-unsharp")
]


def tensors(network):
    return {n: t.detach().clone() for n, t in (*network.named_parameters(), *network.named_buffers())}


def unchanged(network, before):
    now = tensors(network)
    return now.keys() == before.keys() and all(torch.equal(now[n], before[n]) for n in now)


@pytest.mark.parametrize("kind, recipe", [*((kind, "noise") for kind in WRITING), *WRITTEN])
def test_the_original_is_left_bit_for_bit(kind, recipe):
    net = kind()
    before, versions = tensors(net), [t._version for t in net.buffers()]
    objects = [id(t) for t in (*net.parameters(), *net.buffers())]
    surgeon.sites(net, input_size=SIZE)
    surgeon.plan(net, recipe, input_size=SIZE)
    surgeon.apply(net, recipe, input_size=SIZE)
    with pytest.raises(SurgeonError):
        surgeon.apply(net, [recipe, {"op": "kap", "select": "nothing.of.that.name"}], input_size=SIZE)
    surgeon.apply(net, recipe, input_size=SIZE, calibration=images(16))
    assert unchanged(net, before)
    assert objects == [id(t) for t in (*net.parameters(), *net.buffers())]
    assert len(versions) == len(list(net.buffers()))


@pytest.mark.parametrize("kind, recipe", WRITTEN)
def test_what_a_forward_writes_is_written_after_the_cut_too(kind, recipe):
    net = kind()
    stock, cut = copy.deepcopy(net).train(), surgeon.apply(net, recipe, input_size=SIZE).train()
    assert cut.surgery.edits
    own = [n for n, _ in net.named_buffers() if "." not in n]
    assert all(torch.equal(cut.get_buffer(n), stock.get_buffer(n)) for n in own)
    for _ in range(5):
        stock(images()), cut(images())
    for name in own:
        assert not torch.equal(cut.get_buffer(name), net.get_buffer(name))
        if recipe == "anl" or name != "centre":  # noise that is switched on by training for it alone
            assert torch.equal(cut.get_buffer(name), stock.get_buffer(name))
    if kind is Averaging:
        pairs = [(dict(n.target.named_parameters()), dict(n.online.named_parameters())) for n in (net, cut)]
        moved = [n for n, p in pairs[1][0].items() if n in pairs[0][0] and not torch.equal(p, pairs[0][0][n])]
        assert moved
        assert not cut(images())[1].requires_grad


def test_no_other_module_takes_the_place_of_one_whose_weights_a_forward_averages():
    with pytest.raises(SelectionError, match="online.3: add_ in the network's code reads its weight too"):
        surgeon.plan(Averaging(), "wm-unsharp", input_size=SIZE)


@pytest.mark.parametrize("value", [0, 1])
def test_a_decision_by_a_buffer_follows_the_buffer(value):
    net = Deciding().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE).eval()
    for network in (net, cut):
        network.warm.fill_(value)
    assert torch.equal(net(images()), cut(images()))
