"""Networks whose Python code does what no graph holds: cut around it, they do it still, or are refused with
what it is."""

import copy
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SelectionError, SurgeonError, SurgeryError
from surgeon.graph.trace import trace

SIZE = (3, 16, 16)
RECIPES = ("kap", "anl", "wm-unsharp", "defective")


def body():
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3))


def images(n=4):
    return torch.randn(n, *SIZE, generator=torch.Generator().manual_seed(1))


class Base(nn.Module):
    """A body that can be cut whatever the code around it does."""

    def __init__(self):
        super().__init__()
        self.body, self.fc = body(), nn.Linear(16, 5)

    def features(self, x):
        return self.body(x).mean((2, 3))


# -- gradients and precision ----------------------------------------------------------------------


class Frozen(Base):
    def forward(self, x):
        with torch.no_grad():
            h = self.body(x)
        return self.fc(h.mean((2, 3)))


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


class Drawing(Base):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        h = self.features(x)
        return self.fc(h * self.draw() if self.training else h)


DRAWING = {
    "random": lambda: 1.0 if random.random() < 0.5 else 2.0,
    "randint": lambda: random.randint(1, 9),
    "numpy": lambda: float(np.random.rand()),
    "torch": lambda: torch.rand(1),
    "in place": lambda: torch.empty(1).uniform_(),
    "permuted": lambda: torch.randperm(16),
}


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
    with pytest.raises(
        SurgeonError, match=r"draws numbers by random, .*test_what_a_trace_loses.py:\d+, .*random.random\(\)"
    ):
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


# -- what a forward leaves on the modules -----------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.conv2 = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3)
        self.aux_loss, self.found = 0.0, {}

    def forward(self, x):
        y = self.norm(self.conv(x))
        self.aux_loss = y.square().mean()
        self.found["map"] = y
        return self.conv2(y)


class Leaving(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.fc, self.features = Block(), nn.Linear(16, 5), None

    def forward(self, x):
        h = self.first(x).mean((2, 3))
        self.features = {"pooled": h, "sizes": (1, 2)}
        return self.fc(h)


@pytest.mark.parametrize("recipe", ["noise", *RECIPES])
def test_results_are_left_on_the_modules(recipe):
    net = Leaving()
    stock, cut = copy.deepcopy(net).eval(), surgeon.apply(net, recipe, input_size=SIZE).eval()
    assert len(cut.surgery.edits) >= 1
    for network in (net, cut):  # nothing of surgeon's own passes
        assert network.first.aux_loss == 0.0
        assert network.first.found == {}
        assert network.features is None
    for scale in (1, 3):
        x = images() * scale
        out = cut(x), stock(x)
        found, wanted = cut.first.aux_loss, stock.first.aux_loss
        assert found.requires_grad
        assert found.shape == wanted.shape
        assert cut.features.keys() == stock.features.keys()
        assert cut.features["sizes"] == (1, 2)
        assert torch.equal(cut.fc(cut.features["pooled"]), out[0])
        assert cut.first.found["map"].square().mean() == found
        if recipe == "noise":
            assert torch.equal(found, wanted)
            assert torch.equal(*out)
    cut.first.aux_loss.backward()
    assert any(p.grad is not None for p in cut.first.conv.parameters())
    again = copy.deepcopy(surgeon.apply(net, recipe, input_size=SIZE)).eval()
    again(images())
    assert again.first.aux_loss is not cut.first.aux_loss


def test_the_last_of_several_calls_is_what_is_left():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block = nn.Conv2d(3, 3, 1), Block()

        def forward(self, x):
            return self.block(x).mean((2, 3)) + self.block(self.stem(x)).mean((2, 3))

    net = Twice().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE).eval()
    net(images()), cut(images())
    assert torch.equal(net.block.aux_loss, cut.block.aux_loss)


def test_an_exported_program_leaves_nothing():
    cut = surgeon.apply(Leaving(), "noise", input_size=SIZE).eval()
    wanted = cut(images())
    program = torch.export.export(cut, (images(),))
    assert torch.allclose(program.module()(images()), wanted, atol=1e-6)


def test_a_list_that_grows_is_no_part_of_a_graph():
    class Collecting(Base):
        def __init__(self):
            super().__init__()
            self.losses = []

        def forward(self, x):
            h = self.features(x)
            self.losses.append(h.square().mean())
            return self.fc(h)

    net = Collecting().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE).eval()
    assert net.losses == cut.losses == []
    for _ in range(3):
        net(images()), cut(images())
    assert torch.equal(torch.stack(net.losses), torch.stack(cut.losses))
    assert len(cut.losses) == 3


# -- parameters that become others ------------------------------------------------------------------


class Prototypes(Base):
    def __init__(self, kept):
        super().__init__()
        self.prototypes = kept

    def forward(self, x):
        z = self.features(x)
        if isinstance(self.prototypes, nn.ParameterDict):
            return torch.stack([z @ p for p in self.prototypes.values()], 1)
        if isinstance(self.prototypes, nn.ParameterList):
            return torch.stack([z @ p for p in self.prototypes], 1)
        return torch.stack([z @ self.prototypes[i] for i in range(self.prototypes.shape[0])], 1)


def vectors(n):
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(n))


GROWING = {
    "list": (
        lambda: nn.ParameterList(vectors(3).unbind()),
        lambda net: net.prototypes.append(nn.Parameter(vectors(1)[0])),
    ),
    "dict": (
        lambda: nn.ParameterDict({"a": vectors(1)[0]}),
        lambda net: net.prototypes.update({"b": nn.Parameter(vectors(2)[0])}),
    ),
    "another list": (
        lambda: nn.ParameterList(vectors(3).unbind()),
        lambda net: setattr(net, "prototypes", nn.ParameterList(vectors(5).unbind())),
    ),
    "longer": (
        lambda: nn.Parameter(vectors(3)),
        lambda net: setattr(net, "prototypes", nn.Parameter(vectors(5))),
    ),
    "as long": (
        lambda: nn.Parameter(vectors(3)),
        lambda net: setattr(net, "prototypes", nn.Parameter(vectors(3) * 2)),
    ),
}


@pytest.mark.parametrize("recipe", ["noise", *RECIPES])
@pytest.mark.parametrize("how", GROWING)
def test_parameters_that_are_added_or_exchanged_after_the_cut_count(how, recipe):
    make, change = GROWING[how]
    net = Prototypes(make())
    cut = surgeon.apply(net, recipe, input_size=SIZE)
    stock = copy.deepcopy(net)
    for network in (stock, cut):
        network.eval()(images())
        change(network)
    wanted, found = stock(images()), cut(images())
    assert found.shape == wanted.shape
    found.sum().backward()
    assert all(p.grad is not None for n, p in cut.named_parameters() if n.startswith("prototypes"))
    if recipe == "noise":
        assert torch.equal(wanted, found)
        assert torch.equal(copy.deepcopy(cut)(images()), found)


# -- arguments of other types -------------------------------------------------------------------------


class Crops(Base):
    def forward(self, x):
        if not isinstance(x, list):
            x = [x]
        return torch.cat([self.fc(self.features(v)) for v in x])


class Named(Base):
    def forward(self, x):
        return self.fc(self.features(x["image"] if isinstance(x, dict) else x))


@pytest.mark.parametrize("recipe", ["noise", *RECIPES])
@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [(Crops, [images(), images()], "list"), (Named, {"image": images()}, "dict"), (Named, None, "NoneType")],
)
def test_an_argument_of_another_type_is_one_clear_error(kind, given, named, recipe):
    cut = surgeon.apply(kind(), recipe, input_size=SIZE)
    for training in (True, False):
        with pytest.raises(
            SurgeryError, match=rf"{kind.__name__}.forward was given x of type {named}, .*tensor"
        ):
            cut.train(training)(given)
    assert cut(images()).shape == (4, 5)


class Levels(nn.Module):
    """A part that takes a list, as a feature pyramid does, from code that cannot be followed."""

    def __init__(self):
        super().__init__()
        self.stem, self.merge = nn.Conv2d(3, 16, 3), Merge()

    def forward(self, x):
        h = self.stem(x)
        return self.merge([h, h * float(h.detach().mean() > 100)])


class Merge(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 1)

    def forward(self, maps):
        return self.conv(maps[0] + maps[1]).mean((2, 3))


def test_a_part_may_take_a_list():
    net = Levels().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE).eval()
    assert [e.site for e in cut.surgery.edits] == ["merge.conv"]
    assert torch.equal(net(images()), cut(images()))


# -- the watch itself -------------------------------------------------------------------------------


WATCHED = [(torch, "is_grad_enabled"), (torch.no_grad, "__enter__"), (torch.autocast, "__exit__")]


class Waiting(Base):
    """While it is traced, another thread does what it must not do itself."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x):
        done = []

        def other():
            with torch.no_grad(), torch.autocast("cpu"):
                done.append((torch.is_grad_enabled(), random.random(), torch.rand(1), np.random.rand()))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(timeout=0.2)  # numpy's numbers may have to wait for the trace
        return self.fc(self.features(x))


def test_what_other_threads_do_meanwhile_is_theirs():
    found = trace(Waiting())
    assert not found.opaque
    assert [n.target for n in found.eval.nodes if n.op == "call_module"] == [
        "body.0",
        "body.1",
        "body.2",
        "body.3",
        "fc",
    ]


@pytest.mark.parametrize(
    "make", [Base, Frozen, lambda: Drawing(DRAWING["random"]), lambda: Drawing(DRAWING["numpy"])]
)
def test_what_is_patched_is_as_before_also_after_an_error(make):
    import sys

    before, profile = [getattr(owner, name) for owner, name in WATCHED], sys.getprofile()
    with pytest.raises(SurgeonError):
        trace(make())
    assert [getattr(owner, name) for owner, name in WATCHED] == before
    assert sys.getprofile() is profile
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert not torch.is_grad_enabled()
    assert np.random.rand() >= 0


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3)

    def forward(self, x):
        return self.conv(x) * (random.random() if self.training else 1)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.noisy, self.fc = body(), Noisy(), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.noisy(self.body(x)).mean((2, 3)))


def test_the_plan_says_which_line_keeps_a_module_from_being_cut():
    plan = surgeon.plan(Mixed(), "noise", input_size=SIZE)
    assert [e.site for e in plan.edits] == ["input", "body.0", "body.3"]
    (passed,) = [p for p in plan.passed_over if p.site == "noisy.conv"]
    assert "draws numbers by random" in passed.reason
    assert "test_what_a_trace_loses.py" in passed.reason
    with pytest.raises(
        SurgeonError, match="has no part that torch.fx can follow: .* draws numbers by random"
    ):
        surgeon.apply(Noisy(), "noise", input_size=(16, 8, 8))


def test_what_stays_whole_in_training_does_in_evaluation():
    found = trace(Mixed())
    for graph in (found.train, found.eval):
        assert [n.target for n in graph.nodes if n.op == "call_module"][-2:] == ["noisy", "fc"]


class Two(Base):
    """A constant for each mode, made on the way."""

    def forward(self, x):
        h = self.fc(self.features(x))
        return h * (torch.tensor(2.0) if self.training else torch.tensor(3.0)) + torch.tensor(1.0)


def test_each_mode_keeps_its_own_constants():
    net = Two()
    cut = surgeon.apply(net, "anl", input_size=SIZE)
    for training in (False, True, False):
        assert torch.equal(net.train(training)(images()), cut.train(training)(images()))
    found = trace(net).constants
    assert sorted(v.item() for v in found.values()) == [1.0, 2.0, 3.0]


class Lying(Base):
    """Decides by how the images lie in memory."""

    def forward(self, x):
        y = self.features(x)
        return self.fc(y * 2 if x.is_contiguous(memory_format=torch.channels_last) else y)


class Striding(Base):
    def forward(self, x):
        return self.fc(self.features(x) * (2 if x.stride(1) == 1 else 1))


@pytest.mark.parametrize("kind", [Lying, Striding])
def test_code_that_decides_by_the_layout_in_memory_is_kept(kind):
    stock = kind().eval()
    cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=SIZE).eval()
    x = images(2)
    for given in (x, x.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(cut(given), stock(given))
    assert not torch.equal(stock(x), stock(x.to(memory_format=torch.channels_last)))
