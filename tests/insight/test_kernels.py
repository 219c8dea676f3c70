"""The kernel sheet: stored kernels, acting ones against a dense product, places, neighbours."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeonError
from surgeon.insight.kernels import draw_kernels, kernel_sheet, pictured
from surgeon.insight.tiles import Kernels
from surgeon.methods.kap.sheet import pooling_matrix
from surgeon.models.pixels import Normalized


@pytest.mark.parametrize("recipe", ["kap", "kap-1d", "kap-ensemble"])
def test_acting_kernels_are_the_pooling_matrix_times_the_stored_ones(tiny, recipe):
    net = surgeon.apply(tiny, recipe, input_size=(3, 8, 8))
    found = kernel_sheet(Normalized(net))
    layer = net.get_submodule("conv1.kap")
    stored = net.get_submodule("conv1").weight.detach()
    stored = stored if layer.order is None else stored[layer.order]  # as they lie on the sheet
    assert (layer.order is None) == (recipe == "kap-ensemble")
    assert found.layer == "conv1" and found.stored.sheet == tuple(layer.sheet)
    assert torch.equal(found.stored.weight, stored)
    a = pooling_matrix(len(stored), layer.kernel_size, layer.stride, layer.dims, sheet=layer.sheet)
    dense = torch.zeros(a.shape[0], *stored.shape[1:], dtype=torch.float64)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            dense[i] += a[i, j] * stored[j].double()
    assert found.acting.weight.shape[0] == found.acting.sheet[0] * found.acting.sheet[1] == 16
    torch.testing.assert_close(found.acting.weight.double(), dense, atol=1e-5, rtol=1e-4)
    assert len(draw_kernels(found).axes) == 2


def test_a_stock_network_acts_as_it_is_stored(tiny):
    found = kernel_sheet(tiny)
    assert found.stored.sheet == (4, 4)
    assert torch.equal(found.stored.weight, found.acting.weight)
    assert len(draw_kernels(found).axes) == 1
    found.stored.weight.zero_()
    assert tiny.conv1.weight.abs().sum() > 0


def test_max_pooling_says_why_it_does_not_act_as_kernels(tiny):
    found = kernel_sheet(surgeon.apply(tiny, "kmp", input_size=(3, 8, 8)))
    assert found.acting is None and "not linear" in found.why
    assert "not linear" in pictured(surgeon.apply(tiny, "kmp", input_size=(3, 8, 8))).caption


def test_pooled_kernels_fold_beside_masks_that_do_not(tiny):
    recipe = surgeon.Recipe(name="r", surgery=[{"op": "kap", "kernel_size": 3}, {"op": "defective"}])
    net = surgeon.apply(tiny, recipe, input_size=(3, 8, 8))
    assert not net.surgery.folds
    found = kernel_sheet(net)
    layer = net.get_submodule("conv1.kap")
    expected = layer.fold(net.get_submodule("conv1").weight.detach().double())[layer.order]
    torch.testing.assert_close(found.acting.weight.double(), expected, atol=1e-5, rtol=1e-4)


def test_neighbours_are_those_on_the_sheet():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    rows = Kernels(torch.stack([a, a, b, b]).view(4, 2, 1, 1), (2, 2))
    assert rows.neighbours == pytest.approx(0.5)  # alike along rows, at right angles along columns
    assert Kernels(torch.stack([a, a, b, b]).view(4, 2, 1, 1), (1, 4)).neighbours == pytest.approx(2 / 3)


def test_a_kernel_stands_at_its_place():
    net = nn.Sequential(nn.Conv2d(1, 6, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([-1, 0, 1, 0.5, 0, -0.5]).view(6, 1, 1, 1))
    (axis,) = draw_kernels(kernel_sheet(net)).axes
    tile = axis.images[0].get_array()
    seen = [[float(tile[8 + 18 * r, 8 + 18 * c, 0]) for c in range(3)] for r in range(2)]
    assert seen == [[0, 0.5, 1], [0.75, 0.5, 0.25]]
    assert float(tile[16, 0, 0]) == 1  # the gap


def test_a_first_layer_of_another_kind_is_named(tiny):
    with pytest.raises(SurgeonError, match="first layer, conv1, is a WeightMap2d"):
        kernel_sheet(surgeon.apply(tiny, "wm-smoothing-all", input_size=(3, 8, 8)))
    with pytest.raises(SurgeonError, match="first layer, 0, is a Linear"):
        kernel_sheet(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(SurgeonError, match="has no convolution"):
        kernel_sheet(nn.ReLU())
