"""Smooth activations: their equations, the distance from ReLU, the search for β, and what folds."""

import warnings

import pytest
import torch
from timm.layers import BatchNormAct2d
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


class Fused(nn.Module):
    """A norm and ReLU in one, a norm and GELU in one, and a ReLU by itself."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1), BatchNormAct2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 24, 3, padding=1), BatchNormAct2d(24, act_layer=nn.GELU)
        self.fc = nn.Linear(24, 5)

    def forward(self, x):
        return self.fc(self.bn2(self.conv2(self.bn1(self.conv1(x)))).mean((2, 3)))


@pytest.fixture
def fused():
    torch.manual_seed(0)
    return Fused().eval()


def test_a_relu_within_a_norm_gives_way_and_another_activation_there_is_named(fused, images):
    cut = surgeon.apply(fused, "smooth-activation", input_size=SIZE, beta=4.0).eval()
    (edit,) = cut.surgery.edits
    assert (edit.site, edit.layer) == ("bn1.act", None) and type(cut.bn2.act) is nn.GELU
    reasons = {p.site: p.reason for p in cut.surgery.passed_over}
    assert reasons["bn2"] == "BatchNormAct2d is norm and activation in one: its activation is GELU, no ReLU"
    x = images[:3]
    with torch.no_grad():
        normed = nn.functional.batch_norm(
            fused.conv1(x), fused.bn1.running_mean, fused.bn1.running_var, fused.bn1.weight, fused.bn1.bias
        )
        wanted = fused.fc(fused.bn2(fused.conv2(nn.functional.silu(4 * normed) / 4)).mean((2, 3)))
        torch.testing.assert_close(cut(x), wanted, atol=1e-5, rtol=1e-5)
        assert torch.equal(surgeon.revert(cut).eval()(x), fused(x))


def test_a_relu_within_a_norm_is_searched_saved_and_folded(fused, images, tmp_path):
    given = {"input_size": SIZE, "calibration": images, "to": "softplus", "budget": 0.2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cut = surgeon.apply(fused, "smooth-activation", **given).eval()
        surgeon.save(cut, tmp_path / "cut")
        loaded = surgeon.load(tmp_path / "cut", model=Fused()).eval()
    search = cut.surgery.execution.searches["smooth-activation"]
    assert search.value > 0.01 and float(cut.bn1.act.beta) == pytest.approx(1 / search.value)
    assert torch.equal(loaded(images), cut(images))
    folded = surgeon.fold(cut).eval()
    assert type(folded.bn1) is BatchNormAct2d and type(folded.bn1.act) is nn.Softplus
    torch.testing.assert_close(folded(images), cut(images), atol=1e-5, rtol=1e-5)


def test_an_activation_within_a_norm_is_replaced_once(fused):
    model = nn.Sequential(fused, nn.ReLU())
    operations = [{"op": "smooth-activation"}, {"op": "kwta", "select": {"include": ["0.bn*"]}}]
    cut = surgeon.apply(model, {"name": "both", "surgery": operations}, input_size=SIZE)
    assert {e.site: e.operation for e in cut.surgery.edits}["0.bn1.act"] == "smooth-activation"
    assert (
        "replaced by smooth-activation"
        in {p.site: p.reason for p in cut.surgery.passed_over if p.operation == "kwta"}["0.bn1.act"]
    )
    operations[1]["select"]["include"] = ["0.bn1"]
    with pytest.raises(SelectionError, match="replaced already by smooth-activation"):
        surgeon.plan(model, {"name": "both", "surgery": operations}, input_size=SIZE)


def test_a_gate_within_a_norm_is_left_as_every_gate_is(fused):
    fused.bn2.act = nn.Sigmoid()
    made = surgeon.plan(fused, "kwta", input_size=SIZE)
    assert [e.site for e in made.edits] == ["bn1.act"]
    assert {p.site: p.reason for p in made.passed_over}["bn2"] == "Sigmoid weighs other activations"
