"""Kernel pooling with Gaussian, Mexican-hat and learned windows: the loops, gradients, starts and folding."""

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import LayerError, RecipeError
from surgeon.methods.kap import KernelAveragePool, WeightedKernelPool
from tests.reference import kap as reference

SETTINGS = [
    (16, 3, 1, 2),
    (64, 5, 1, 2),
    (36, 3, 3, 2),
    (13, 5, 1, 2),
    (7, 3, 2, 2),
    (1, 3, 1, 2),
    (10, 7, 1, 1),
]
KINDS = ("gaussian", "mexican-hat", "learned")
SIZE = (3, 8, 8)


def sheet_of(channels, dims):
    return reference.closest_factors(channels) if dims == 2 else (1, channels)


def layer_of(kind, *sizes, **more):
    layer = WeightedKernelPool(*sizes, kernel=kind, **more).double()
    if kind == "learned":
        with torch.no_grad():
            layer.theta.copy_(torch.randn(layer.theta.shape, generator=torch.Generator().manual_seed(4)))
    return layer


def wanted_of(layer, x):
    sheet = tuple(layer.sheet)
    if layer.kernel != "learned":
        return reference.kernel(layer.kernel, x, layer.kernel_size, layer.stride, sheet, layer.spread)
    rows, cols = (layer.kernel_size if side > 1 else 1 for side in sheet)
    grid = layer.theta.detach().exp().view(rows, cols)
    return reference.weighted(
        x, layer.kernel_size, layer.stride, sheet, lambda d, a: float(grid[d + rows // 2, a + cols // 2])
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "size", "stride", "dims"), SETTINGS)
@pytest.mark.parametrize("spatial", [(), (5,), (3, 4), (2, 3, 2)])
def test_equals_the_loops(kind, channels, size, stride, dims, spatial):
    x = torch.randn(3, channels, *spatial, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    layer = layer_of(kind, channels, size, stride, dims)
    wanted = wanted_of(layer, x)
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.matrix().sum(1), torch.ones(layer.out_channels, dtype=torch.float64))
    torch.testing.assert_close(
        (layer.matrix() @ x.reshape(3, channels, -1)).view(wanted.shape), wanted, rtol=0, atol=1e-12
    )
    torch.testing.assert_close(layer.fold(x[0]), wanted[0], rtol=0, atol=1e-12)
    if spatial == (3, 4):
        found = layer(x.to(memory_format=torch.channels_last))
        assert found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_a_wide_gaussian_and_an_untrained_window_are_the_average():
    x = torch.randn(2, 12, 5, dtype=torch.float64)
    average = KernelAveragePool(12).double()(x)
    torch.testing.assert_close(WeightedKernelPool(12, kernel="learned").double()(x), average)
    torch.testing.assert_close(WeightedKernelPool(12, kernel="gaussian", spread=1e6).double()(x), average)


def test_a_mexican_hat_takes_far_channels_away():
    row = WeightedKernelPool(9, 9, dims=1, kernel="mexican-hat", spread=1.0).matrix()[4]
    assert (row[3:6] > 0).all() and (row[:3] < 0).all() and torch.equal(row, row.flip(0))


def test_the_learned_windows_gradient():
    layer, x = layer_of("learned", 12, 3), torch.randn(2, 12, 3, dtype=torch.float64)

    def pooled(theta):
        return torch.func.functional_call(layer, {"theta": theta}, (x,))

    assert torch.autograd.gradcheck(pooled, (layer.theta.detach().clone().requires_grad_(),))


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_weights_equals_pooling_outputs(kind):
    conv, layer = nn.Conv2d(4, 16, 3, padding=1).double(), layer_of(kind, 16)
    x = torch.randn(8, 4, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(layer.after(conv, x), layer(conv(x)))
    layer.set_alpha(0.3)
    torch.testing.assert_close(layer.after(conv, x), 0.3 * wanted_of(layer, conv(x)) + 0.7 * conv(x))
    layer.set_order(torch.randperm(16))
    torch.testing.assert_close(layer.after(conv, x), layer(conv(x)))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(conv(x)), layer(conv(x)))


@pytest.mark.filterwarnings("ignore:Tiny is of own code")
@pytest.mark.parametrize("start", ["naive", "lstsq", "anneal"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_network_folds_and_is_saved(tiny, images, kind, start, tmp_path):
    cut = surgeon.apply(tiny, "kap", input_size=SIZE, kernel=kind, start=start).eval()
    if kind == "learned":
        with torch.no_grad():
            cut.conv1.kap.theta.normal_()
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut", model=copy.deepcopy(tiny)).eval()
    with torch.no_grad():
        assert torch.equal(loaded(images), cut(images))
        cut = cut.double()
        folded = surgeon.fold(cut)
        assert type(folded) is type(tiny) and list(folded.state_dict()) == list(tiny.state_dict())
        torch.testing.assert_close(folded(images.double()), cut(images.double()), atol=1e-10, rtol=1e-10)
    assert torch.equal(surgeon.revert(cut).float()(images), tiny(images)) or start == "lstsq"


@pytest.mark.filterwarnings("ignore::surgeon.errors.CalibrationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_images_fit_the_convolution_to_the_window(tiny, kind):
    images = torch.randn(96, *SIZE, generator=torch.Generator().manual_seed(1))
    starts = {"sequential": images, "lstsq": None, "naive": None}
    apart = {}
    for start, given in starts.items():
        cut = surgeon.apply(tiny, "kap", input_size=SIZE, calibration=given, kernel=kind, start=start).eval()
        with torch.no_grad():
            scale = tiny.bn1.weight / (tiny.bn1.running_var + tiny.bn1.eps).sqrt()
            off = cut.conv1.kap(cut.conv1(images)) - tiny.conv1(images)
            off = (off - off.mean((0, 2, 3), keepdim=True)) * scale.view(-1, 1, 1)
            apart[start] = float(off.square().mean())
    assert apart["sequential"] <= 1.01 * apart["lstsq"] and apart["lstsq"] < 0.5 * apart["naive"], apart


def test_what_does_not_go_together_is_an_error(tiny):
    for settings, why in (
        ({"pool": "max", "kernel": "gaussian"}, "needs pool 'mean'"),
        ({"kernel": "learned", "order": "fitted"}, "the given order"),
        ({"kernel": "learned", "spread": 1.0}, "is the width of a Gaussian"),
        ({"kernel": "box"}, "kernel"),
    ):
        with pytest.raises(RecipeError, match=why):
            surgeon.plan(tiny, "kap", input_size=SIZE, **settings)
    with pytest.raises(LayerError, match="kernel='average' with pool='mean' is not known"):
        WeightedKernelPool(9, kernel="average")
    with pytest.raises(LayerError, match="spread=-1"):
        WeightedKernelPool(9, kernel="gaussian", spread=-1.0)


def test_an_emptied_window_is_as_it_was_made():
    layer = layer_of("learned", 9).to_empty(device="cpu")
    with pytest.raises(LayerError, match="no values since to_empty"):
        layer(torch.zeros(1, 9))
    layer.reset_parameters()
    assert not layer.theta.any() and float(layer.alpha) == 1
