"""Smooth activations: their equations, the distance from ReLU, the search for β, and what folds."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import FoldError, RecipeError, SelectionError
from surgeon.methods.smooth_activation import SmoothReLU
from tests.reference import smooth_activation as reference

SIZE = (3, 8, 8)
TO = ("silu", "gelu", "softplus")
APART = {"silu": 0.2785, "gelu": 0.17, "softplus": 0.6932}
"""β times the largest difference from ReLU."""


class Small(nn.Module):
    """One ReLU that is called twice and writes in place, and one activation that is none."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.relu, self.tanh = nn.ReLU(inplace=True), nn.Tanh()
        self.fc = nn.Linear(24, 5)

    def forward(self, x):
        x = self.relu(self.conv2(self.relu(self.conv1(x))))
        return self.fc(self.tanh(x).mean((2, 3)))


@pytest.fixture
def stock():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def images():
    return torch.rand(96, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("beta", [0.5, 1.0, 7.0, 100.0])
@pytest.mark.parametrize("to", TO)
def test_the_layer_is_the_equation(to, beta):
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    found = SmoothReLU(to, beta).double()(x)
    wanted = torch.tensor(reference.smooth_relu(x.tolist(), beta, to), dtype=torch.float64)
    torch.testing.assert_close(found, wanted, atol=2.1e-9 / beta, rtol=1e-13)
    apart = float((wanted - x.relu()).abs().max())
    assert 0.9 * APART[to] < beta * apart < APART[to]


@pytest.mark.parametrize("to", TO)
def test_the_gradient_has_no_jump_at_zero(to):
    x = torch.tensor([-1e-6, 0.0, 1e-6], dtype=torch.float64, requires_grad=True)
    SmoothReLU(to, 10.0).double()(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.5), atol=1e-4, rtol=0)


def test_each_relu_gives_way_and_nothing_else(stock, images):
    cut = surgeon.apply(stock, "smooth-activation", input_size=SIZE, beta=4.0).double().eval()
    (edit,) = cut.surgery.edits
    assert (edit.site, edit.layer, edit.call) == ("relu", "relu.smooth", None)
    assert isinstance(cut.relu, nn.Identity) and isinstance(cut.tanh, nn.Tanh)
    assert {p.site: p.reason for p in cut.surgery.passed_over}["tanh"] == "Tanh is no ReLU"
    x, net = images[:3].double(), stock.double()
    with torch.no_grad():
        smooth = lambda z: nn.functional.silu(4 * z) / 4  # noqa: E731
        wanted = net.fc(smooth(net.conv2(smooth(net.conv1(x)))).tanh().mean((2, 3)))
        torch.testing.assert_close(cut(x), wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Small is of own code")
@pytest.mark.parametrize("to", TO)
def test_the_largest_smoothness_within_the_budget_is_found_and_kept(stock, images, to, tmp_path):
    cut = surgeon.apply(
        stock, "smooth-activation", input_size=SIZE, calibration=images, to=to, budget=0.1
    ).eval()
    found = cut.surgery.execution.searches["smooth-activation"]
    assert found.setting == "smoothness" and found.curve[0] == (0.01, 0.0)
    within = [v for v, cost in found.curve if cost <= 0.1]
    assert found.value == max(within) and len(found.curve) - len(within) <= 1
    assert float(cut.relu.smooth.beta) == pytest.approx(1 / found.value)
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut", model=Small()).eval()
    assert torch.equal(loaded(images), cut(images)) and float(loaded.relu.smooth.beta) == float(
        cut.relu.smooth.beta
    )


def test_the_search_starts_where_predictions_are_the_stock_networks(stock, images):
    cut = surgeon.apply(stock, "smooth-activation", input_size=SIZE, beta=100.0).eval()
    with torch.no_grad():
        moved = (cut(images) - stock(images)).norm() / stock(images).norm()
        assert 0 < moved < 0.02
        far = surgeon.apply(stock, "smooth-activation", input_size=SIZE, beta=1.0).eval()
        assert (far(images) - stock(images)).norm() / stock(images).norm() > 5 * moved


def test_with_a_given_beta_nothing_is_searched(stock, images):
    cut = surgeon.apply(stock, "smooth-activation", input_size=SIZE, calibration=images, beta=3.0)
    assert float(cut.relu.smooth.beta) == 3 and not cut.surgery.execution.searches
    without = surgeon.apply(stock, "smooth-activation", input_size=SIZE)
    assert float(without.relu.smooth.beta) == 1


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"to": "softplus", "beta": 5.0}, nn.Softplus),
        ({"to": "softplus"}, nn.Softplus),
        ({"to": "silu", "beta": 1.0}, nn.SiLU),
        ({"to": "gelu", "beta": 1.0}, nn.GELU),
    ],
)
def test_what_torch_has_folds(stock, images, settings, kind):
    given = None if "beta" in settings else images
    cut = surgeon.apply(stock, "smooth-activation", input_size=SIZE, calibration=given, **settings)
    cut = cut.double().eval()
    folded = surgeon.fold(cut).eval()
    assert type(folded) is Small and type(folded.relu) is kind and not list(folded.relu.children())
    with torch.no_grad():
        x = images.double()
        torch.testing.assert_close(folded(x), cut(x), atol=1e-9, rtol=1e-9)


def test_another_beta_does_not_fold(stock):
    for settings in ({"beta": 2.0}, {}, {"to": "gelu"}):
        cut = surgeon.apply(stock, "smooth-activation", input_size=SIZE, **settings)
        with pytest.raises(FoldError, match="with a β other than 1"):
            surgeon.fold(cut)


def test_no_relu_and_wrong_settings_are_errors(stock):
    with pytest.raises(SelectionError, match="GELU is no ReLU"):
        surgeon.plan(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU()), "smooth-activation", input_size=SIZE)
    for settings in ({"beta": 0.0}, {"to": "elu"}):
        with pytest.raises(RecipeError, match=next(iter(settings))):
            surgeon.plan(stock, "smooth-activation", input_size=SIZE, **settings)


def test_reverting_brings_the_relu_back(stock, images):
    back = surgeon.revert(surgeon.apply(stock, "smooth-activation", input_size=SIZE, calibration=images))
    assert type(back.relu) is nn.ReLU and back.relu.inplace and not list(back.relu.children())
    with torch.no_grad():
        assert torch.equal(back.eval()(images), stock(images))


def test_what_is_recorded_of_a_search_is_true_of_the_network_that_is_returned():
    from surgeon.models.calibration import halves
    from surgeon.models.logits import drift_of, logits_of

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()
            self.conv2, self.norm, self.fc = nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.Linear(16, 4)

        def forward(self, x):
            return self.fc(self.norm(self.conv2(self.act(self.conv(x)))).relu().mean((2, 3)))

    torch.manual_seed(0)
    stock, images = Normed().eval(), torch.randn(96, 3, 8, 8)
    with (
        torch.no_grad()
    ):  # statistics that fit the images, so that taking them again changes nothing by itself
        stock.train(), stock.norm.__dict__.update(momentum=None), stock(images), stock.eval()
    cut = surgeon.apply(stock, "smooth-activation", input_size=(3, 8, 8), calibration=images, budget=0.2)
    done = cut.surgery.execution
    parts = halves(images, cut.surgery.seed)
    assert len(done.choice.trials) == 1, "what is searched is one start"
    now = drift_of(logits_of(stock, parts.held_out), logits_of(cut, parts.held_out), "calibration")
    assert done.drift.agreement == now.agreement
    assert abs(done.drift.relative - now.relative) <= 1e-6 * max(now.relative, 1e-6) + 1e-9
    found = done.searches["smooth-activation"]
    assert float(cut.act.smooth.beta) == pytest.approx(1 / found.value)
    # The norm has measured what it receives with the chosen value, and not with another one.
    with torch.no_grad():
        received = cut.conv2(cut.act.smooth(cut.conv(parts.fitted)))
    torch.testing.assert_close(cut.norm.running_mean, received.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
