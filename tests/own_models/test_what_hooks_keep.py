"""A hook of the network's author keeps what a module gave, and the code around it reads that."""

import functools

import pytest
import torch
from torch import nn

import surgeon

SIZE = (3, 16, 16)
KEPT = {}


class Reading(nn.Module):
    """Depth networks take features of their backbone so."""

    def __init__(self):
        super().__init__()
        self.back = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3))
        self.back[0].register_forward_hook(lambda module, given, out: KEPT.__setitem__("first", out))
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        self.back(x)
        return self.head(KEPT["first"])


class Computing(Reading):
    """What it reads is in no graph itself, only what it makes of it."""

    def forward(self, x):
        self.back(x)
        return self.head(KEPT["first"] * torch.tensor([2.0]))


@pytest.mark.parametrize("kind", [Reading, Computing])
@pytest.mark.parametrize("ran_before", [False, True])
@pytest.mark.parametrize("size", [SIZE, None])
def test_what_an_earlier_run_left_is_no_constant(kind, ran_before, size):
    KEPT.clear()
    stock = kind().eval()
    if ran_before:
        with torch.no_grad():
            stock(torch.randn(2, *SIZE))
    cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=size).eval()
    assert "back.0" in {e.site for e in cut.surgery.edits}
    for seed in (1, 2):
        x = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed))
        wanted = stock(x)
        KEPT.clear()
        torch.testing.assert_close(cut(x), wanted)


def test_constants_that_the_code_makes_or_a_file_holds_stay():
    table = torch.rand(16, 1, 1)

    class Scaled(Reading):
        def forward(self, x):
            return self.head(
                self.back(x) * torch.tensor(0.5) + torch.zeros(16, 1, 1) + torch.arange(3.0).mean()
            )

    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)

        def forward(self, x):
            return self.conv(x) * table

    for stock in (Scaled().eval(), Looking().eval()):
        cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=SIZE).eval()
        assert cut.surgery.refused == {}
        x = torch.randn(2, *SIZE)
        torch.testing.assert_close(cut(x), stock(x))


def by_argument(net):
    def hook(module, given, out):
        module.gain = float(out.mean())

    return hook


def by_name(net):
    return functools.partial(lambda name, module, given, out: setattr(module, "gain", out.mean().item()), "")


def through_another(net):
    return net.note


class Noting:
    def __call__(self, module, given, out):
        _write(module, float(out.mean()))


def _write(module, value):
    module.gain = value


def by_object(net):
    return Noting()


def in_a_dict(net):
    def hook(module, given, out):
        module.notes["gain"] = float(out.mean())

    return hook


def in_a_list(net):
    def hook(module, given, out):
        module.seen.append(float(out.mean()))

    return hook


class Back(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3)

    def forward(self, x):
        return self.last(self.norm(self.conv(x)).relu())


class Noted(nn.Module):
    """Its head is scaled by a number that a hook leaves on a module, on the network, or in what a module holds."""

    def __init__(self, hook):
        super().__init__()
        self.back = Back()
        self.back.conv.gain, self.back.conv.notes, self.back.conv.seen = 1.0, {"gain": 1.0}, [1.0]
        self.gain, self.unread = 1.0, 0
        self.head = nn.Conv2d(16, 4, 1)
        self.back.conv.register_forward_hook(hook(self))

    def note(self, module, given, out):
        self.keep(float(out.mean()))

    def keep(self, value):
        self.gain = value

    def forward(self, x):
        h, first = self.back(x), self.back.conv
        return self.head(h) * (first.gain * self.gain * first.notes["gain"] * first.seen[-1])


@pytest.mark.parametrize(
    "hook", [by_argument, by_name, through_another, by_object, in_a_dict, in_a_list], ids=lambda h: h.__name__
)
def test_a_number_that_a_hook_leaves_is_no_constant(hook):
    torch.manual_seed(0)
    stock = Noted(hook).eval()
    stock(torch.randn(2, *SIZE))  # an earlier run left something
    cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=SIZE).eval()
    assert "back.last" in {e.site for e in cut.surgery.edits}
    for seed in (1, 2):
        x = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(cut(x), stock(x))


def test_what_hooks_do_not_set_is_followed():
    def hook(module, given, out):
        module.calls = getattr(module, "calls", 0) + 1

    class Wide(Noted):
        def forward(self, x):
            return self.head(self.back(x)) / self.back.conv.out_channels

    stock = Wide(lambda net: hook).eval()
    cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=SIZE).eval()
    assert isinstance(cut, torch.fx.GraphModule)
    cut(torch.randn(2, *SIZE))
    calls = cut.back.conv.calls
    cut(torch.randn(2, *SIZE))
    assert cut.back.conv.calls == calls + 1
