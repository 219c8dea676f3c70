"""A pooling behind a convolution that is pooled already: what both give together is fitted and measured."""

import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import CalibrationWarning

SIZE = (3, 8, 8)
AT = {"include": ["1"]}


def network(*, groups=1, bias=False):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.Conv2d(16, 16, 3, padding=1, groups=groups, bias=bias),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    for _ in range(4):
        model(torch.randn(16, *SIZE))
    return model.eval()


def cut(model, images=None, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        recipe = {"op": "kap", "select": AT, **settings}
        return surgeon.apply(model, recipe, input_size=SIZE, stack=True, calibration=images).eval()


def pooled(model, values):
    """A convolution's kernels or bias as all poolings behind it leave them, in float64."""
    for layer in model.get_submodule("1").children():
        values = (layer.matrix() @ values.double().flatten(1)).view_as(values)
    return values


def whole_kernels(model):
    """A grouped convolution's kernels with the zeros between the groups."""
    own = model.get_submodule("1")
    whole = torch.zeros(own.out_channels, own.in_channels, *own.kernel_size, dtype=torch.float64)
    each = own.in_channels // own.groups
    for k in range(own.out_channels):
        start = k // (own.out_channels // own.groups) * each
        whole[k, start : start + each] = own.weight[k]
    return whole


@pytest.mark.parametrize("second", [{}, {"dims": 1}, {"kernel": "gaussian"}, {"order": "given"}])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_error_in_the_record_is_that_of_the_folded_kernels(groups, second):
    first = cut(network(groups=groups, bias=True), start="lstsq")
    both = cut(first, start="lstsq", **second)
    before, after = (pooled(m, whole_kernels(m)) for m in (first, both))
    error = float((after - before).norm() / before.norm())
    assert both.surgery.execution.residuals["1"] == pytest.approx(error, rel=1e-4)
    assert error < 0.9, "as far as weights can make up for the second pooling"
    assert torch.isfinite(both.get_submodule("1").bias).all()
    if groups == 1:
        one, other = (
            surgeon.fold(first).get_submodule("1").weight.double(),
            surgeon.fold(both).get_submodule("1").weight.double(),
        )
        assert float((other - one).norm() / one.norm()) == pytest.approx(error, rel=1e-3)


def test_the_note_on_two_of_a_kind_is_for_a_second_surgery_too():
    both = cut(cut(network()))
    (note,) = [n for n in both.surgery.notes if n.code == "twice"]
    assert note.text == "kap stands twice at 1 sites, the first 1"


def test_behind_a_maximum_the_weights_stay_and_no_error_is_told():
    first = cut(network(), pool="max", start="naive")
    both = cut(first, start="lstsq")
    assert torch.equal(both.get_submodule("1").weight, first.get_submodule("1").weight)
    assert "1" not in both.surgery.execution.residuals


@pytest.mark.parametrize("bias", [False, True])
def test_a_fit_to_images_reaches_what_the_first_pooling_gave(bias):
    images = torch.randn(7, *SIZE, generator=torch.Generator().manual_seed(1))
    first = cut(network(bias=bias), start="lstsq")
    both = cut(first, images, start="sequential")
    with torch.no_grad():
        wanted, given = (_at(m, images) for m in (first, both))
    error = float((given - wanted).norm() / wanted.norm())
    assert both.surgery.execution.residuals["1"] == pytest.approx(error, rel=1e-3)
    assert error < 0.6


def _at(model, images):
    seen = []
    last = list(model.get_submodule("1").children())[-1]
    handle = last.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    model(images)
    handle.remove()
    return seen[0].double()


def test_behind_a_maximum_a_fit_to_images_says_why_not():
    images = torch.randn(7, *SIZE, generator=torch.Generator().manual_seed(1))
    both = cut(cut(network(), pool="max", start="naive"), images, start="sequential")
    assert any("not linear stands between" in n.text for n in both.surgery.notes), both.surgery.notes


def test_two_of_one_recipe_are_fitted_together():
    model = network()
    recipe = [{"op": "kap", "select": AT}, {"op": "kap", "dims": 1, "select": AT}]
    both = surgeon.apply(model, recipe, input_size=SIZE, trained=True)
    before, after = (
        model.get_submodule("1").weight.double(),
        surgeon.fold(both).get_submodule("1").weight.double(),
    )
    assert float((after - before).norm() / before.norm()) < 0.9
