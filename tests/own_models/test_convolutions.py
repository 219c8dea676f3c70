"""Convolutions of one's own: of any dimension, plain subclasses, and those that do something else with their
weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

import surgeon
from surgeon.errors import FoldError, SelectionError
from surgeon.verification import demand, verify
from tests.own_models.checks import KAP, SIZE, Plain, images, out, works


class OneD(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv1d(3, 16, 3), nn.BatchNorm1d(16), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean(2))


class ThreeD(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv3d(3, 16, 3), nn.BatchNorm3d(16), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3, 4)))


class Same(nn.Conv2d):
    """A subclass that says how it is made and nothing else."""

    def __init__(self, channels):
        super().__init__(channels, channels, 3, padding=1)


class Standardised(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return functional.conv2d(x, w, self.bias, self.stride, self.padding)


class StdConv2d(Standardised):
    """Called like timm's, and not timm's."""


class Activated(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).relu()


class Squared(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight.square(), bias)


class Flipped(nn.Module):
    def forward(self, w):
        return w + w.flip(-1)


def parametrised():
    conv = nn.Conv2d(16, 16, 3, padding=1)
    parametrize.register_parametrization(conv, "weight", Flipped())
    return conv


def conv(kind=nn.Conv2d):
    return kind(16, 16, 3, padding=1)


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (OneD, (3, 16)),
        (ThreeD, (3, 4, 8, 8)),
        (lambda: Plain(nn.ConvTranspose2d(16, 16, 2, stride=2)), SIZE),
        (lambda: Plain(Same(16)), SIZE),
        (lambda: Plain(nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")), SIZE),
        (lambda: Plain(nn.Conv2d(16, 16, 3, padding="same", dilation=2)), SIZE),
    ],
)
def test_plain_ones_are_cut_and_folded(make, size, tmp_path):
    works(make(), tmp_path, input_size=size)


ALTERED = [
    (lambda: conv(Standardised), "Standardised has a forward of its own"),
    (lambda: conv(StdConv2d), "Standardised has a forward of its own"),
    (lambda: conv(Activated), "Activated has a forward of its own"),
    (lambda: conv(Squared), "Squared has a _conv_forward of its own"),
    (parametrised, "its weight is parametrised; torch.nn.utils.parametrize.remove_parametrizations"),
    (lambda: parametrizations.weight_norm(conv()), "its weight is parametrised"),
    (lambda: parametrizations.spectral_norm(conv()), "its weight is parametrised"),
]


@pytest.mark.parametrize(("make", "reason"), ALTERED)
def test_those_that_alter_their_weights_are_never_folded_or_fitted_by_them(make, reason, tmp_path):
    model = Plain(make()).eval()
    x = images()
    assert torch.equal(out(surgeon.apply(model, "noise", input_size=SIZE).eval(), x), out(model, x))
    cut = surgeon.apply(model, KAP, input_size=SIZE).eval()
    demand(verify(model, cut, images=x))
    assert [e.site for e in cut.surgery.edits if e.replaces] == ["conv"]
    assert type(cut.conv2) is type(model.conv2)
    with pytest.raises(FoldError, match=f"1 of 2 edits do not fold: kap at conv2: {reason}"):
        surgeon.fold(cut)
    partly = surgeon.fold(cut, partial=True).eval()
    assert torch.allclose(out(partly, x), out(cut, x), atol=1e-5)
    assert torch.equal(out(surgeon.revert(cut), x), out(model, x))
    surgeon.save(cut, tmp_path / "out")
    assert torch.equal(out(surgeon.load(tmp_path / "out", model=model), x), out(cut, x))
    for recipe in ("wm-smoothing", {"op": "smooth-init", "select": {"include": "conv2"}}):
        with pytest.raises(SelectionError, match=reason):
            surgeon.apply(model, recipe, input_size=SIZE)


def test_data_driven_starts_leave_them_alone():
    model = Plain(conv(Standardised)).eval()
    x = torch.randn(16, *SIZE)
    cut = surgeon.apply(model, "kap", calibration=x, input_size=SIZE, warm_start="sequential").eval()
    assert torch.equal(cut.conv2.weight, model.conv2.weight)
    assert {e.site: e.settings["start"] for e in cut.surgery.edits if e.site != "input"} == {
        "conv": "sequential",
        "conv2": "naive",
    }


def test_a_stem_that_alters_its_weights_is_not_exchanged():
    model = nn.Sequential(Standardised(3, 16, 7, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3))
    with pytest.raises(
        SelectionError, match="small-image exchanges the first convolution, 0: Standardised has a forward"
    ):
        surgeon.apply(model, "small-image", input_size=(3, 16, 16))


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_the_old_hooks_that_remake_weights_are_refused(kind):
    model = Plain()
    getattr(torch.nn.utils, kind)(model.conv2)
    with pytest.raises(
        surgeon.SurgeonError,
        match=rf"conv2: its weight is made anew .*\(remove_{kind}\), or use torch.nn.utils.para",
    ):
        surgeon.apply(model, "noise", input_size=SIZE)
    getattr(torch.nn.utils, f"remove_{kind}")(model.conv2)
    assert surgeon.apply(model, "noise", input_size=SIZE) is not None


class Functional(Plain):
    def __init__(self):
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(16, 16, 3, 3) / 12)

    def features(self, x):
        return functional.conv2d(super().features(x).relu(), self.kernels, padding=1)


class HandMade(nn.Module):
    """A convolution that is no subclass of torch's."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 16, 3, 3) / 12)

    def forward(self, x):
        return functional.conv2d(x, self.weight - self.weight.mean(), padding=1)


@pytest.mark.parametrize(
    ("make", "place", "sites"),
    [(Functional, "Functional", ["conv", "conv2"]), (lambda: Plain(HandMade()), "conv2", ["conv"])],
)
def test_functions_are_passed_over_with_the_line_that_calls_them(make, place, sites, tmp_path):
    model = make()
    (passed,) = [p for p in surgeon.plan(model, KAP, input_size=SIZE).passed_over if "function" in p.reason]
    assert passed.site == place
    assert "it calls conv2d at test_convolutions.py:" in passed.reason
    assert "as a function: only modules are cut" in passed.reason
    works(model, tmp_path, sites=sites)


def test_functions_are_seen_in_a_graph_too_where_nothing_was_run():
    (passed,) = [p for p in surgeon.plan(Functional(), KAP).passed_over if "function" in p.reason]
    assert (passed.site, "conv2d" in passed.reason) == ("Functional", True)


def test_a_norm_of_ones_own_takes_up_no_mask():
    class Odd(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).square()

    model = Plain()
    model.norm = Odd(16)
    cut = surgeon.apply(model, "defective-channel", input_size=SIZE)
    with pytest.raises(FoldError, match="Odd has a forward of its own"):
        surgeon.fold(cut)
