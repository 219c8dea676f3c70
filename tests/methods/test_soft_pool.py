"""Averages and convolutions in place of max poolings: kernels, their fit, sizes, and what is passed over."""

import numpy
import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import RecipeError, SelectionError
from surgeon.methods.soft_pool import fitted_kernels, mean_kernels
from surgeon.tensors.equations import equations
from tests.reference import soft_pool as reference

SIZE = (3, 16, 16)


@pytest.fixture
def stock():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(
        *body, nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5)
    ).eval()


@pytest.fixture
def images():
    coarse = torch.rand(96, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, SIZE[1:], mode="bilinear")


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("ridge", [1e-9, 1e-2, 1.0])
def test_kernels_are_those_of_least_squares(ridge, mixed, biased):
    x = torch.randn(5, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.3
    y = nn.functional.max_pool2d(x, 3, 2, 1)
    conv = nn.Conv2d(3, 3, 3, 2, 1, groups=1 if mixed else 3).double()
    problem = equations(conv, x, y, fit_bias=biased)
    start = mean_kernels(3, (3, 3), mixed=mixed)
    kernels, bias, error = fitted_kernels(problem, start, ridge, biased=biased)
    u, rest = reference.windows(x.numpy(), 3, 2, 1), []
    for c in range(3):
        own = numpy.moveaxis(u, 1, 3).reshape(-1, 27) if mixed else u[:, c].reshape(-1, 9)
        aim = y[:, c].numpy().reshape(-1)
        first = numpy.eye(3)[c].repeat(9) / 9 if mixed else numpy.full(9, 1 / 9)
        wanted = reference.fitted(own, aim, ridge, first, biased)
        found = torch.cat([kernels[c].flatten(), bias[c : c + 1] if biased else kernels.new_zeros(0)])
        numpy.testing.assert_allclose(found.numpy(), wanted, atol=1e-8)
        rest.append(own @ wanted[: own.shape[1]] + (wanted[-1] if biased else 0) - aim)
    wanted_error = numpy.sqrt((numpy.stack(rest) ** 2).sum() / (y.numpy() ** 2).sum())
    assert error == pytest.approx(wanted_error, rel=1e-6) and (bias is None) == (not biased)


@pytest.mark.parametrize("to", ["depthwise", "conv", "average"])
def test_without_images_it_is_the_average(stock, images, to):
    cut = surgeon.apply(stock, "soft-pool", input_size=SIZE, to=to).eval()
    with torch.no_grad():
        y = nn.functional.avg_pool2d(stock[:2](images), 3, 2, 1)
        y = nn.functional.avg_pool2d(stock[3:5](y), 2)
        torch.testing.assert_close(cut(images), stock[6:](y))
    assert {type(m) for m in cut.modules()}.isdisjoint({nn.MaxPool2d})
    assert all(e.folds and e.traits.linear for e in cut.surgery.edits)


@pytest.mark.parametrize("to", ["depthwise", "conv"])
def test_fitted_kernels_are_closer_to_the_maximum_than_the_average(stock, images, to):
    fitted = surgeon.apply(
        stock, "soft-pool", input_size=SIZE, calibration=images, to=to, start="fitted"
    ).eval()
    mean = surgeon.apply(stock, "soft-pool", input_size=SIZE, to=to).eval()
    assert set(fitted.surgery.execution.residuals) >= {"2", "5"} and not fitted.surgery.execution.unfitted
    with torch.no_grad():
        held = stock[:2](images.flip(3))
        wanted = stock[2](held)
        apart = [float((n.get_submodule("2")(held) - wanted).norm() / wanted.norm()) for n in (fitted, mean)]
        drift = [float((n(images) - stock(images)).norm()) for n in (fitted, mean)]
    assert apart[0] < 0.5 * apart[1] and drift[0] < 0.5 * drift[1], (apart, drift)


@pytest.mark.filterwarnings("ignore::surgeon.errors.CalibrationWarning")
def test_with_images_the_start_is_fitted_and_comes_back(stock, images):
    plan = surgeon.plan(stock, "soft-pool", input_size=SIZE, calibrated=True)
    assert {e.settings["start"] for e in plan.edits} == {"fitted"}
    cut = surgeon.apply(stock, plan, calibration=images).eval()
    back = surgeon.revert(cut)
    folded = surgeon.fold(cut).eval()
    with torch.no_grad():
        assert torch.equal(back(images), stock(images)) and type(back[2]) is nn.MaxPool2d
        assert torch.equal(folded(images), cut(images)) and type(folded[2]) is nn.Conv2d


def test_new_kernels_are_in_the_networks_precision():
    stock = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)).double()
    cut = surgeon.apply(stock, "soft-pool", input_size=(3, 8, 8))
    assert cut.get_submodule("1").weight.dtype == torch.float64 and cut.get_submodule("1").groups == 4


@pytest.mark.parametrize(("dims", "size"), [(1, (3, 12)), (3, (3, 4, 8, 8))])
def test_sequences_and_clips_are_averaged(dims, size):
    conv, pool = getattr(nn, f"Conv{dims}d"), getattr(nn, f"MaxPool{dims}d")
    stock = nn.Sequential(conv(3, 4, 1), pool(2)).eval()
    cut = surgeon.apply(stock, "soft-pool", input_size=size).eval()
    x = torch.rand(2, *size)
    with torch.no_grad():
        torch.testing.assert_close(cut(x), getattr(nn.functional, f"avg_pool{dims}d")(stock[0](x), 2))


def test_a_size_that_is_rounded_up_is_averaged_alone():
    stock = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2, ceil_mode=True))
    with pytest.raises(SelectionError, match="rounds its size up"):
        surgeon.plan(stock, "soft-pool", input_size=(3, 7, 7))
    cut = surgeon.apply(stock, "soft-pool", input_size=(3, 7, 7), to="average")
    assert cut(torch.rand(1, 3, 7, 7)).shape == (1, 4, 4, 4)


def test_what_is_no_maximum_stays_and_wrong_settings_are_errors(stock):
    with pytest.raises(SelectionError, match="AvgPool2d is no max pooling"):
        surgeon.plan(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d(2)), "soft-pool", input_size=SIZE)
    with pytest.raises(RecipeError, match="start 'fitted' needs weights"):
        surgeon.plan(stock, "soft-pool", input_size=SIZE, to="average", start="fitted")
    dilated = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2, dilation=2))
    with pytest.raises(SelectionError, match=r"dilation \[2, 2\], which no average pooling has"):
        surgeon.plan(dilated, "soft-pool", input_size=SIZE, to="average")
    x = torch.rand(2, *SIZE)
    assert surgeon.apply(dilated, "soft-pool", input_size=SIZE)(x).shape == dilated(x).shape


@pytest.mark.parametrize("to", ["conv", "depthwise"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_mean_is_as_exact_as_the_network(to, dtype):
    """A ninth in float32 is 3e-8 off, which a network in float64 would keep."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.MaxPool2d(3, 2), torch.nn.Conv2d(4, 2, 1)
    ).to(dtype)
    cut = surgeon.apply(model, {"op": "soft-pool", "to": to, "start": "mean"}, input_size=(3, 12, 12))
    assert cut[1].weight.dtype == cut[1].bias.dtype == dtype
    x = torch.rand(2, 3, 12, 12, dtype=dtype, generator=torch.Generator().manual_seed(0))
    wanted = model[2](torch.nn.functional.avg_pool2d(model[0](x), 3, 2))
    assert float((cut(x) - wanted).detach().abs().max()) < 16 * torch.finfo(dtype).eps
