"""Statistics by channel and least-squares starts come from one pass over the calibration images."""

import warnings
from typing import ClassVar

import pytest
import torch
from torch import nn

import surgeon
from surgeon.graph.rewritten.pairs import run_side_by_side, run_stock
from surgeon.methods import Wanted, registry
from surgeon.methods.mean_sparse.operation import MeanSparse
from surgeon.models.calibration import halves
from surgeon.surgery import fitting, refit

SIZE = (3, 8, 8)
KAP = {"op": "kap", "start": "sequential", "select": {"include": "conv1"}}
BOTH = [KAP, {"op": "meansparse", "alpha": 0.4}]


class Plain(nn.Module):
    def __init__(self, relu=nn.ReLU):
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), relu()
        self.conv2, self.act2 = nn.Conv2d(16, 8, 3, padding=1), relu()
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.act1(self.bn1(self.conv1(x)))
        return self.fc(self.act2(self.conv2(x)).mean((2, 3)))


class Shared(Plain):
    """Its second activation is the first one again."""

    def __init__(self):
        super().__init__()
        self.act2 = self.act1


@pytest.fixture
def passes(monkeypatch):
    """The passes of a surgery, each with its number of images: of both networks, and of the stock one alone."""
    found = []

    def both(network, stock, images, *args, **named):
        found.append(("both", len(images)))
        return run_side_by_side(network, stock, images, *args, **named)

    def alone(network, stock, images, seen):
        found.append(("alone", len(images)))
        run_stock(network, stock, images, seen)

    monkeypatch.setattr(fitting, "run_side_by_side", both)
    monkeypatch.setattr(fitting, "run_stock", alone)
    return found


def cut(model, recipe, number=6):
    images = torch.rand(number, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", surgeon.errors.CalibrationWarning)
        return surgeon.apply(model, recipe, input_size=SIZE, calibration=images, trained=True), images


def stock_of(kind=Plain):
    torch.manual_seed(0)
    return kind().double().eval()


def _values(stock, images):
    """What stands before the activations of the stock network."""
    with torch.no_grad():
        first = stock.bn1(stock.conv1(images))
        return first, stock.conv2(first.relu())


def _demand_statistics(layers, values):
    for layer, value in zip(layers, values, strict=True):
        # The layer keeps them in float32: one rounding.
        torch.testing.assert_close(layer.mean, value.mean((0, 2, 3)).float(), atol=1e-8, rtol=1e-6)
        wanted = value.var((0, 2, 3), unbiased=False).sqrt().float()
        torch.testing.assert_close(layer.deviation, wanted, atol=1e-8, rtol=1e-6)


def test_statistics_are_taken_in_the_pass_in_which_weights_are_fitted(passes):
    stock = stock_of()
    found, images = cut(stock, BOTH)
    assert passes == [("both", 6)]
    assert found.surgery.execution.residuals and found.surgery.execution.observed == 6
    # of the stock network, also behind the cut, where the rewritten one has other values
    _demand_statistics((found.act1.meansparse, found.act2.meansparse), _values(stock, images))


def test_without_a_fit_the_stock_network_runs_alone(passes):
    stock = stock_of()
    found, images = cut(stock, BOTH[1])
    assert passes == [("alone", 6)]
    _demand_statistics((found.act1.meansparse, found.act2.meansparse), _values(stock, images))


def test_more_images_than_the_fit_takes_at_once_are_seen_beforehand(passes, monkeypatch):
    monkeypatch.setattr(refit, "_MOST_IMAGES", 4)
    stock = stock_of()
    found, images = cut(stock, BOTH)
    assert passes == [("alone", 6), ("both", 4)]
    _demand_statistics((found.act1.meansparse, found.act2.meansparse), _values(stock, images))


def test_a_module_that_is_called_twice_has_the_statistics_of_each_call_from_the_same_pass(passes):
    stock = stock_of(Shared)
    found, images = cut(stock, [KAP, {"op": "meansparse", "alpha": 0.4}])
    assert passes == [("both", 6)]
    _demand_statistics((found.act1.meansparse_0, found.act1.meansparse_1), _values(stock, images))


def test_a_layer_that_says_what_it_lets_through_is_set_up_before_the_fit(passes, monkeypatch):
    seen = []

    def through(self, edit, layer):
        seen.append(float(layer.deviation.abs().sum()))

    monkeypatch.setattr(MeanSparse, "passes", through)
    cut(stock_of(), BOTH)
    assert passes == [("alone", 6), ("both", 6)]
    assert seen and min(seen) > 0  # not asked of a layer without its statistics


def test_a_search_begins_with_its_first_value_and_the_statistics_of_the_shared_pass(passes):
    stock = stock_of()
    found, _ = cut(stock, [KAP, {"op": "meansparse", "budget": 0.5, "step": 0.5}])
    searched = found.surgery.execution.searches["meansparse"]
    assert passes == [("both", 6)] and searched.curve[0] == (0.0, 0.0)
    assert {float(m.alpha) for m in (found.act1.meansparse, found.act2.meansparse)} == {searched.value}
    assert float(found.act2.meansparse.deviation.min()) > 0


@pytest.mark.parametrize("kind", [Plain, Shared])
def test_the_stock_network_alone_gives_what_it_gives_beside_the_other(kind):
    stock = stock_of(kind)
    found, images = cut(stock, BOTH)
    beside, alone = [], []
    run_side_by_side(found, stock, images, lambda call: beside.append((call.name, call.old)))
    run_stock(found, stock.train(), images, lambda name, value: alone.append((name, value)))
    assert [n for n, _ in beside] == [n for n, _ in alone] and stock.training
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(beside, alone, strict=True))


class Observing(MeanSparse):
    """Asks for all that can be asked for, and keeps what it is given."""

    given: ClassVar[dict] = {}

    def observe(self, edit):
        return Wanted(edit.settings["channels"], edit.settings["axis"], covariance=True, quantiles=True)

    def calibrate(self, edit, layer, statistics):
        self.given[edit.site] = statistics
        super().calibrate(edit, layer, statistics)


def test_covariances_and_quantiles_come_where_an_operation_asks_for_them(monkeypatch):
    monkeypatch.setitem(registry._shipped(), "meansparse", Observing)
    torch.manual_seed(0)
    network, x = Plain().eval(), torch.rand(64, *SIZE)
    surgeon.apply(network, {"op": "meansparse", "alpha": 0.1}, input_size=SIZE, calibration=x)
    kept = fitted_part(x, 0)
    with torch.no_grad():
        values = network.bn1(network.conv1(kept)).double().transpose(0, 1).flatten(1)
    given = Observing.given["act1"]
    torch.testing.assert_close(
        given.covariance.double(), torch.cov(values, correction=0), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        given.quantile(0.9).double(), values.quantile(0.9, dim=1), rtol=0.05, atol=0.05
    )


def fitted_part(images, seed):
    return halves(images, seed).fitted
