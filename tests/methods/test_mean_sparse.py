"""MeanSparse: its equation, where it stands, its statistics from data, and the search for α."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import CalibrationWarning, LayerError, RecipeError, SurgeryError
from surgeon.methods.mean_sparse import MeanSparsification
from surgeon.models.logits import logits_of
from tests.reference import mean_sparse as reference

SIZE = (3, 8, 8)


class Shared(nn.Module):
    """One activation that is called twice, on maps of different widths, and writes in place."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(24, 5)

    def forward(self, x):
        return self.fc(self.relu(self.conv2(self.relu(self.conv1(x)))).mean((2, 3)))


class Tokens(nn.Module):
    """Patches, and a perceptron over their channels, which are the last axis."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 2, 2)
        self.fc1, self.act, self.fc2 = nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 5)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.fc2(self.act(self.fc1(tokens))).mean(1)


@pytest.fixture
def images():
    return torch.rand(96, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float32)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("axis", [1, -1])
def test_the_layer_is_the_papers_operator(alpha, axis):
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = MeanSparsification(3, axis, alpha).double()
    mean, deviation = zip(*reference.statistics(x), strict=True)
    layer.set_statistics(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(deviation, dtype=torch.float64)
    )
    given = x.movedim(1, axis)
    found = layer(given).movedim(axis, 1)
    wanted = reference.mean_sparse(x, alpha)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    changed = (wanted != x).double().mean()
    assert (changed == 0) if alpha == 0 else (0.05 < changed < 0.95)


def test_another_width_is_an_error():
    with pytest.raises(LayerError, match="3 channels in axis 1, got an input of shape"):
        MeanSparsification(3)(torch.zeros(2, 4, 5, 5))
    with pytest.raises(LayerError, match=r"expected \(3,\)"):
        MeanSparsification(3).set_statistics(torch.zeros(4), torch.zeros(3))


def test_a_shared_activation_gets_a_layer_for_each_call_with_statistics_of_that_call(images):
    torch.manual_seed(0)
    stock = Shared()
    cut = surgeon.apply(stock, "meansparse", input_size=SIZE, calibration=images, alpha=0.5).eval()
    assert [(e.layer, e.before, e.call) for e in cut.surgery.edits] == [
        ("relu.meansparse_0", True, 0),
        ("relu.meansparse_1", True, 1),
    ]
    with torch.no_grad():
        first = stock.conv1(images)
        second = stock.conv2(first.relu())
    for layer, values in ((cut.relu.meansparse_0, first), (cut.relu.meansparse_1, second)):
        # The statistics are of those calibration images that were not held out: close to those of all.
        assert layer.channels == values.shape[1]
        apart = (layer.mean - values.mean((0, 2, 3))).abs() / values.std((0, 2, 3))
        assert float(apart.max()) < 0.1
    x = images[:4]
    with torch.no_grad():
        y = cut.relu.meansparse_0(stock.conv1(x)).relu()
        y = cut.relu.meansparse_1(stock.conv2(y)).relu()
        torch.testing.assert_close(cut(x), stock.fc(y.mean((2, 3))), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(cut(x), stock.eval()(x), atol=1e-4)


def test_statistics_are_of_all_fitted_images_exactly():
    torch.manual_seed(0)
    stock = Shared().double()
    few = torch.rand(7, *SIZE, dtype=torch.float64)  # too few to hold some out
    with pytest.warns(surgeon.errors.CalibrationWarning, match="7 calibration images"):
        cut = surgeon.apply(stock, "meansparse", input_size=SIZE, calibration=few, alpha=0.5)
    wanted = reference.statistics(stock.conv1(few).detach())
    # The layer keeps them in float32: one rounding.
    torch.testing.assert_close(
        cut.relu.meansparse_0.mean.tolist(), [m for m, _ in wanted], atol=0, rtol=2**-23
    )
    torch.testing.assert_close(
        cut.relu.meansparse_0.deviation.tolist(), [d for _, d in wanted], atol=0, rtol=2**-23
    )
    assert cut.surgery.execution.observed == 7


def test_a_plan_made_without_images_says_that_carrying_it_out_takes_some(images):
    said = "starts from calibration images: start 'statistics'"
    assert said in [n.text for n in surgeon.plan(Shared(), "meansparse", input_size=SIZE).notes]
    assert "images" not in {n.code for n in surgeon.plan(Shared(), "kap", input_size=SIZE).notes}
    cut = surgeon.apply(Shared(), "meansparse", input_size=SIZE, calibration=images, alpha=0.5)
    assert said not in [n.text for n in cut.surgery.notes]


def test_tokens_have_their_channels_in_the_last_axis(images):
    torch.manual_seed(0)
    cut = surgeon.apply(Tokens(), "meansparse", input_size=SIZE, calibration=images, alpha=0.5)
    (edit,) = cut.surgery.edits
    assert edit.settings["axis"] == -1 and edit.settings["channels"] == 16 == cut.act.meansparse.channels


def test_the_largest_alpha_within_the_budget_is_found_and_recorded(images):
    torch.manual_seed(0)
    stock = Shared()
    cut = surgeon.apply(stock, "meansparse", input_size=SIZE, calibration=images, budget=0.1, step=0.2).eval()
    found = cut.surgery.execution.searches["meansparse"]
    assert found.curve[0] == (0.0, 0.0) and [v for v, _ in found.curve] == sorted(v for v, _ in found.curve)
    within = [v for v, cost in found.curve if cost <= 0.1]
    assert found.value == max(within) and len(found.curve) - len(within) <= 1
    alphas = {float(m.alpha) for m in cut.modules() if isinstance(m, MeanSparsification)}
    assert alphas == {float(torch.tensor(found.value))}
    assert found.images == len(images) - 24  # without those held out
    assert "meansparse.alpha:" in str(cut.surgery)


def test_a_budget_of_zero_changes_no_prediction(images):
    torch.manual_seed(0)
    cut = surgeon.apply(Shared(), "meansparse", input_size=SIZE, calibration=images, budget=0.0)
    found = cut.surgery.execution.searches["meansparse"]
    assert dict(found.curve)[found.value] == 0


def test_without_images_it_is_refused_and_the_identity_keeps_the_function(images):
    torch.manual_seed(0)
    stock = Shared().eval()
    with pytest.raises(SurgeryError, match="start 'statistics'"):
        surgeon.apply(stock, "meansparse", input_size=SIZE)
    cut = surgeon.apply(stock, "meansparse", input_size=SIZE, start="identity")
    assert cut.surgery.effect == "exact"
    assert torch.equal(logits_of(cut, images), logits_of(stock, images))


def test_it_saves_loads_and_reverts_bit_for_bit(images, tmp_path):
    torch.manual_seed(0)
    stock = surgeon.create_model("resnet18", num_classes=5, input_size=(3, 32, 32))
    images = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    cut = surgeon.apply(stock, "meansparse", input_size=(3, 32, 32), calibration=images).eval()
    statistics = [m for m in cut.modules() if isinstance(m, nn.BatchNorm2d)]
    assert cut.surgery.execution.statistics == 0 and statistics
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut").eval()
    assert loaded.surgery == cut.surgery
    assert torch.equal(loaded(images), cut(images))
    back = surgeon.revert(loaded)
    for (name, now), (old, was) in zip(back.state_dict().items(), stock.state_dict().items(), strict=True):
        assert name == old and torch.equal(now, was)


def test_with_kap_the_search_counts_only_what_alpha_changes(images):
    torch.manual_seed(0)
    cut = surgeon.apply(Shared(), "kap+meansparse", input_size=SIZE, calibration=images)
    found = cut.surgery.execution.searches["meansparse"]
    assert found.curve[0] == (0.0, 0.0)
    assert {e.operation for e in cut.surgery.edits} == {"kap", "meansparse"}


def test_in_a_fused_norm_the_layer_stands_between_and_measures_what_it_is_given():
    torch.manual_seed(0)
    model = surgeon.create_model("efficientnet_b0", num_classes=4).eval()
    with torch.no_grad():
        model.bn1.weight.uniform_(0.5, 1.5), model.bn1.bias.normal_(0, 0.3)
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(2))  # none is held out
    with pytest.warns(surgeon.errors.CalibrationWarning, match="7 calibration images"):
        cut = surgeon.apply(model, "meansparse", input_size=(3, 32, 32), calibration=images, alpha=0.2)
    sites = {e.site: e for e in cut.surgery.edits}
    assert not sites["bn1"].before
    code = cut.eval_graph.python_code("self").src
    assert code.index("self.bn1(") < code.index("self.bn1.meansparse(") < code.index("self.bn1.act(")
    assert all("gate" not in s for s in sites), "gates weigh: they are no activations in the paper's sense"
    with torch.no_grad():
        before_act = nn.BatchNorm2d.forward(model.bn1, model.conv_stem(images))
    apart = (cut.bn1.meansparse.mean - before_act.mean((0, 2, 3))).abs() / before_act.std((0, 2, 3))
    assert float(apart.max()) < 1e-3  # behind the activation it is a thousand times as far


def test_another_kin_of_the_same_network_does_not_stand_in_its_way(images):
    """Stacked on a pooling that was approximated, batch norms keep what they have: the layers are to change little."""

    class Normed(Shared):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(16)

        def forward(self, x):
            return self.fc(self.relu(self.conv2(self.relu(self.norm(self.conv1(x))))).mean((2, 3)))

    torch.manual_seed(0)
    first = surgeon.apply(Normed(), "kap", input_size=SIZE, calibration=images)
    second = surgeon.apply(first, "meansparse", calibration=images, stack=True)
    assert torch.equal(second.norm.running_mean, first.norm.running_mean)
    assert second.surgery.execution.statistics == 0


def test_a_method_that_makes_only_some_of_the_calls_is_an_error():
    class Two(Shared):
        def forward_features(self, x):
            return self.relu(self.conv1(x))

        def forward_head(self, x):
            return self.fc(self.relu(self.conv2(x)).mean((2, 3)))

        def forward(self, x):
            return self.forward_head(self.forward_features(x))

    torch.manual_seed(0)
    cut = surgeon.apply(Two(), "meansparse", input_size=SIZE, start="identity")
    x = torch.rand(2, *SIZE)
    assert cut(x).shape == (2, 5)
    with pytest.raises(
        surgeon.SurgeonError, match="relu is called 1 times there and 2 times by the whole network"
    ):
        cut.forward_features(x)


def test_too_many_values_to_try_are_refused_also_by_a_small_step_alone():
    with pytest.raises(surgeon.errors.RecipeError, match="more than 1,000 values"):
        surgeon.methods.parse({"op": "meansparse", "step": 1e-6})


def test_where_the_channels_are_not_known_the_site_is_passed_over():
    class Shuffled(Shared):
        def forward(self, x):
            y = self.conv1(x).view(-1, 2, 8, 8, 8).transpose(1, 2).reshape(-1, 16, 8, 8)
            return self.relu(y).flatten(1)  # nothing behind it tells either

    with pytest.raises(surgeon.errors.SelectionError, match="not known in which axis its channels are"):
        surgeon.plan(Shuffled(), "meansparse", input_size=SIZE)


def test_a_step_beyond_the_largest_value_is_refused():
    """It would try α = 0 alone, which changes nothing."""
    with pytest.raises(RecipeError, match="step=2 is above most=1"):
        surgeon.plan(Shared().eval(), {"op": "meansparse", "step": 2.0}, input_size=SIZE)


def test_a_search_that_ends_where_nothing_changes_is_a_warning():
    """Of images that are brighter or darker than 0, which a wide band around the means makes alike."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 2, bias=False),
    ).eval()
    network[0].weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    network[4].weight.data = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    x = torch.randn(40, 1, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 4, 4).contiguous()
    recipe = {"op": "meansparse", "step": 50.0, "most": 50.0, "budget": 0.0}
    with pytest.warns(
        CalibrationWarning, match=r"meansparse changes nothing: alpha = 0 .* more than the budget, 0 %"
    ):
        cut = surgeon.apply(network, recipe, input_size=(1, 4, 4), calibration=x)
    assert cut.surgery.execution.searches["meansparse"].value == 0
