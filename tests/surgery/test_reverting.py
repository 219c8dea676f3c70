"""What comes back is as the rest of the network is now."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.interop.conftest import SIZE, _stock

RECIPES = ("wm-unsharp", "small-image", "smooth-init")


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_in_another_precision(recipe, dtype):
    stock = _stock()
    cut = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    back = surgeon.revert(cut.to(dtype))
    wanted = copy.deepcopy(stock).to(dtype).eval()
    assert all(t.dtype == wanted.state_dict()[k].dtype for k, t in back.state_dict().items())
    x = torch.randn(2, *SIZE).to(dtype)
    assert torch.equal(back(x), wanted(x))


@pytest.mark.parametrize("recipe", RECIPES)
def test_frozen(recipe):
    cut = surgeon.apply(_stock(), recipe, input_size=SIZE)
    assert all(p.requires_grad for p in surgeon.revert(cut).parameters())
    assert not [n for n, p in surgeon.revert(cut.requires_grad_(False)).named_parameters() if p.requires_grad]


@pytest.mark.parametrize("recipe", RECIPES)
def test_frozen_before_the_cut(recipe):
    cut = surgeon.apply(copy.deepcopy(_stock()).requires_grad_(False), recipe, input_size=SIZE)
    assert not any(p.requires_grad for p in surgeon.revert(cut).parameters())


def test_frozen_one_by_one():
    cut = surgeon.apply(_stock(), "smooth-init", input_size=SIZE)
    cut.conv1.get_parameter("0.weight").requires_grad_(False)
    back = surgeon.revert(cut)
    assert [n for n, p in back.named_parameters() if not p.requires_grad] == ["conv1.0.weight"]


def test_on_another_device_and_in_evaluation():
    cut = surgeon.apply(_stock(), "wm-unsharp", input_size=SIZE).eval().to("meta")
    back = surgeon.revert(cut)
    assert all(t.is_meta for t in back.state_dict().values()) and not any(m.training for m in back.modules())


def _calibrated():
    torch.manual_seed(0)
    stock = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.BatchNorm2d(16),
        nn.Flatten(),
        nn.Linear(16 * 36, 5),
    )
    stock(torch.randn(8, 3, 8, 8))
    stock.eval()
    return stock, surgeon.apply(stock, "kap", calibration=torch.randn(64, 3, 8, 8), input_size=(3, 8, 8))


@pytest.mark.parametrize("what", ["without statistics", "GroupNorm", "pruned"])
def test_statistics_that_have_no_place_any_more_are_told_of(what):
    _, cut = _calibrated()
    assert cut.displaced.statistics
    norm = cut.get_submodule("1")
    if what == "without statistics":
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    elif what == "GroupNorm":
        setattr(cut, "1", nn.GroupNorm(4, 16))
    else:
        norm.running_mean, norm.running_var = torch.zeros(8), torch.ones(8)
    kind = "GroupNorm" if what == "GroupNorm" else "BatchNorm2d"
    with pytest.raises(
        SurgeryError, match=rf"^1: its running .* the {kind} there has .*after surgeon.revert$"
    ):
        surgeon.revert(cut)


def test_a_frozen_norm_takes_its_statistics_back_without_a_count():
    from torchvision.ops import FrozenBatchNorm2d

    stock, cut = _calibrated()
    frozen = FrozenBatchNorm2d(16)
    frozen.load_state_dict(cut.get_submodule("1").state_dict())
    setattr(cut, "1", frozen)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(surgeon.revert(cut)(x), stock(x))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("squeeze-excite", "kap"),
        ("squeeze-excite", "wm-unsharp"),
        ("kap", "parametric-noise"),
        ("kap", "wm-unsharp"),
        ("smooth-activation", "kap"),
    ],
)
def test_a_second_surgery_may_replace_what_the_first_put_layers_behind(first, second, tmp_path):
    stock = surgeon.create_model("zoo/cifar_resnet20").eval()
    once = surgeon.apply(stock, first, input_size=(3, 16, 16))
    twice = surgeon.apply(once, second, input_size=(3, 16, 16), stack=True).eval()
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    back = surgeon.revert(twice)
    assert back.state_dict().keys() == stock.state_dict().keys()
    assert torch.equal(back(x), stock(x))
    loaded = surgeon.load(surgeon.save(twice, tmp_path / "twice")).eval()
    assert loaded.state_dict().keys() == twice.state_dict().keys()
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in twice.state_dict().items())
    assert surgeon.revert(loaded).state_dict().keys() == stock.state_dict().keys()


class _Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class _AsksForInPlace(nn.Module):
    """Its code reads a setting that a surgery changes, and that comes back with what it gave up."""

    def __init__(self):
        super().__init__()
        self.inner = _Inner()

    def forward(self, x):
        y = self.inner(x)
        return (y if self.inner.act.inplace else y.clone()).mean((2, 3))


@pytest.mark.parametrize("back", [surgeon.revert, surgeon.fold])
def test_of_code_that_reads_what_a_surgery_clears(back):
    stock = _AsksForInPlace().eval()
    plain = back(surgeon.apply(stock, "anl", input_size=(3, 8, 8)).eval())
    x = torch.rand(2, 3, 8, 8)
    assert plain.inner.act.inplace and torch.equal(plain(x), stock(x))
    assert plain.inner(x).shape == (2, 4, 6, 6)  # a part of it can be called again


_FITTED = {
    "kap": {"op": "kap", "start": "sequential"},
    "one kap": {"op": "kap", "start": "sequential", "select": {"first": 1}},
    "weight-map": {"op": "weight-map", "mode": "unsharp", "select": {"last": 1}},
    "smooth-init": "smooth-init",
    "dual-norm": "advprop",
}


@pytest.mark.parametrize("second", _FITTED)
@pytest.mark.parametrize("first", _FITTED)
def test_two_surgeries_that_were_fitted_to_images(first, second):
    """The weights that the second one's fit replaces are the first one's, which no revert is to give back."""
    stock = surgeon.create_model("zoo/shallow2").eval()
    x = torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    cut = stock
    for name in (first, second):
        cut = surgeon.apply(
            cut, _FITTED[name], input_size=(3, 16, 16), calibration=x, trained=True, stack=True
        )
    own = stock.state_dict()
    assert {k: torch.equal(v, own[k]) for k, v in surgeon.revert(cut).state_dict().items()} == dict.fromkeys(
        own, True
    )
