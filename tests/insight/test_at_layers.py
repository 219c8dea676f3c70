"""Variances at layers and the likeness of gradients, against loops in float64."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArgumentError, DataError
from surgeon.insight.changes import spread_by_layer
from surgeon.insight.moments import moments_by_layer
from surgeon.insight.similarity import gradient_similarity
from surgeon.methods.weight_map.module import WeightMap2d
from tests.reference import moments as slow


def pixels(n=70, c=2, size=4):
    return torch.rand(n, c, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, 2, bias=False),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()


def test_variances_are_those_of_loops_over_more_than_one_batch(network):
    x = pixels()
    found = moments_by_layer(network, x)
    assert list(found) == ["0", "1", "3", "5"]
    at = x
    with torch.no_grad():
        for name, module in network.named_children():
            given, at = at, module(at.clone())
            if name in found:
                assert found[name].input_variance == pytest.approx(slow.variance(given), rel=1e-5)
                assert found[name].variance == pytest.approx(slow.variance(at), rel=1e-5)
                assert found[name].deviation == pytest.approx(slow.deviation(at), rel=1e-5)
    one_pass = spread_by_layer(network, x)
    assert {k: m.deviation for k, m in found.items()} == pytest.approx(one_pass, rel=1e-6)


def test_a_map_amplifies_by_its_squared_weights_as_in_equation_5():
    layer = WeightMap2d(1, 1, (4, 4), 1, bias=False).double()
    x = pixels(30, 1).double()
    scale = layer.by_channels()[0, 0].detach()
    expected = float(
        (scale.square() * x[:, 0].var(0, correction=0)).sum() / x[:, 0].var(0, correction=0).sum()
    )
    found = moments_by_layer(nn.Sequential(layer), x)["0"]
    assert found.amplification == pytest.approx(expected, rel=1e-9)


def test_an_input_that_does_not_vary_is_amplified_without_bound(network):
    assert moments_by_layer(network, torch.zeros(3, 2, 4, 4))["0"].amplification == float("inf")
    with pytest.raises(DataError, match="no images"):
        moments_by_layer(network, pixels()[:0])


def test_what_a_surgery_inserted_belongs_to_its_layer(tiny):
    x = torch.rand(5, 3, 8, 8)
    rewritten = surgeon.apply(tiny, "kap", input_size=(3, 8, 8))
    heard, folded = (moments_by_layer(m, x) for m in (rewritten, surgeon.fold(rewritten)))
    assert list(heard) == list(folded)
    for name, one in heard.items():
        assert one == pytest.approx(folded[name], rel=1e-3)


def test_gradients_are_as_alike_as_in_loops_also_before_an_activation_that_writes_in_place(network):
    x, y = pixels(), torch.arange(70) % 3
    double = nn.Sequential(*network).double()
    for end in (0, 1, 3):
        given = slow.gradients(
            double[: end + 1], nn.Sequential(nn.Identity(), *map(fresh, double[end + 1 :])), x, y
        )
        found = gradient_similarity(double, x.double(), y, layer=str(end))
        assert found.shape == (3, 3) and torch.equal(found, found.T)
        for one, other in ((0, 0), (0, 1), (2, 1)):
            assert float(found[one, other]) == pytest.approx(slow.similarity(given, y, one, other), abs=1e-9)
    network.float()


def fresh(module):
    """An activation that leaves its input as it is, so that the loop's leaf can be differentiated."""
    return nn.ReLU() if isinstance(module, nn.ReLU) else module


def test_images_without_a_gradient_are_left_out():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).double()
    net[1].weight.data = torch.tensor([[1000.0] * 4, [-1000.0] * 4]).double()
    dark, bright = torch.zeros(2, 1, 2, 2).double(), torch.ones(2, 1, 2, 2).double()
    x, y = torch.cat([dark, bright]), torch.tensor([0, 1, 0, 0])  # the bright ones are sure of class 0
    found = gradient_similarity(net, x, y, layer="1", classes=3)
    assert float(found[0, 1]) == pytest.approx(-1.0)
    assert found[0, 0].isnan() and found[2].isnan().all()


@pytest.mark.parametrize(
    "layer, labels, more, said",
    [
        ("conv", 4, {}, "has no layer 'conv'"),
        ("0", 3, {}, "one label an image"),
        ("0", 4, {"classes": 1}, "labels up to 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(network, layer, labels, more, said):
    with pytest.raises((ArgumentError, DataError), match=said):
        gradient_similarity(network, pixels(4), torch.arange(labels) % 2, layer=layer, **more)
