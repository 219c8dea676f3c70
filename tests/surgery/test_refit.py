"""The start from data, and batch-norm statistics, against slow references."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import DataError, SurgeryError
from surgeon.graph.rewritten.pairs import run_side_by_side
from surgeon.methods import parse
from surgeon.methods.kap.sheet import pooling_matrix, side_matrices
from surgeon.methods.kap.weights import lstsq_data_weight, lstsq_sheet_weight, lstsq_weight, pool_weight
from surgeon.models.calibration import halves
from surgeon.models.norm_statistics import reestimate_statistics

SIZE = (3, 8, 8)


def test_the_factors_give_the_matrix_and_its_least_squares():
    torch.manual_seed(0)
    for channels, kernel, stride, dims in (
        (12, 3, 1, 2),
        (16, 3, 1, 2),
        (10, 5, 1, 1),
        (36, 3, 3, 2),
        (7, 3, 1, 2),
    ):
        matrix = pooling_matrix(channels, kernel, stride, dims)
        factors = side_matrices(channels, kernel, stride, dims)
        assert torch.equal(torch.kron(*factors), matrix)
        w = torch.randn(channels, 4, 3, dtype=torch.float64)
        assert torch.allclose(pool_weight(w, factors), (matrix @ w.flatten(1)).view(-1, 4, 3))
        target = torch.randn(matrix.shape[0], 4, 3, dtype=torch.float64)
        for ridge in (1e-2, 1e-4):
            assert torch.allclose(
                lstsq_sheet_weight(target, factors, ridge), lstsq_weight(target, matrix, ridge), atol=1e-8
            )
        assert torch.allclose(
            lstsq_sheet_weight(target, factors, 0.0), lstsq_weight(target, matrix, 0.0), atol=1e-6
        )


def test_the_data_start_is_the_minimum_of_its_objective():
    torch.manual_seed(0)
    u = torch.randn(50, 6, dtype=torch.float64)
    y = torch.randn(50, 8, dtype=torch.float64)
    scale = torch.rand(8, dtype=torch.float64) + 0.1
    matrix = pooling_matrix(8, 3, 1, 1)
    regression = torch.linalg.lstsq(u, y).solution.mT
    w = lstsq_data_weight(matrix, regression, scale, 0.0).requires_grad_()
    objective = (scale * (u @ (matrix @ w).mT - y)).square().sum() / 50
    (gradient,) = torch.autograd.grad(objective, w)
    assert float(gradient.abs().max()) < 1e-8


def test_side_by_side_gives_both_networks_outputs(tiny, images):
    cut = surgeon.apply(
        tiny, [{"op": "kap", "start": "naive"}, {"op": "adversarial-noise"}], input_size=SIZE
    ).eval()
    seen = []
    both = run_side_by_side(cut, tiny, images, lambda call: seen.append(call.name))
    assert torch.equal(both.old, tiny(images))
    torch.testing.assert_close(both.new, cut(images))  # which pools weights where that is less
    assert seen[:3] == ["conv1", "conv1.kap", "bn1"]


@pytest.mark.parametrize("bias", [True, False])
def test_a_refit_layer_reaches_the_old_outputs_as_well_as_least_squares_can(bias):
    torch.manual_seed(0)

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=bias)
            self.fc = nn.Linear(12, 2)

        def forward(self, x):
            return self.fc(self.conv(x).mean((2, 3)))

    model, given = One(), torch.randn(40, *SIZE)
    recipe = {"op": "kap", "ridge": 1e-10, "start": "sequential"}
    cut = surgeon.apply(model, recipe, input_size=SIZE, calibration=given)
    x = halves(given, 0).fitted
    assert cut.surgery.edits[0].settings["start"] == "sequential"
    matrix = pooling_matrix(12, 3)
    wanted = model.conv(x).detach().double().permute(1, 0, 2, 3).flatten(1)
    best = matrix @ torch.linalg.lstsq(matrix, wanted).solution
    found = cut.conv.kap(cut.conv(x)).detach().permute(1, 0, 2, 3).flatten(1)
    assert float((found - best).norm() / best.norm()) < 1e-3
    error = cut.surgery.execution.residuals["conv"]
    assert error == pytest.approx(float((best - wanted).norm() / wanted.norm()), abs=1e-3)


def test_a_start_from_data_needs_data(tiny):
    plan = surgeon.plan(tiny, {"op": "kap"}, input_size=SIZE, calibrated=True)
    with pytest.raises(
        SurgeryError, match="start 'sequential'.*pass calibration images, or plan without them"
    ):
        surgeon.apply(tiny, plan)


def test_statistics_are_those_of_the_images():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    x = torch.randn(300, 3, 4, 4) * 2 + 1
    used = reestimate_statistics(model, x, batch_size=100)
    assert used == 300
    assert torch.allclose(model[0].running_mean, x.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(model[0].running_var, x.var((0, 2, 3)), rtol=2e-2)
    assert model[0].momentum == 0.1 and model.training


def test_statistics_leave_dropout_noise_and_random_state_alone(tiny):
    cut = surgeon.apply(tiny, "noise", input_size=SIZE).train()
    x = torch.randn(64, *SIZE)
    state = torch.get_rng_state()
    reestimate_statistics(cut, x)
    first = cut.bn2.running_mean.clone()
    reestimate_statistics(cut, x)
    assert torch.equal(first, cut.bn2.running_mean)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_that_are_no_batch_or_not_finite_are_refused(tiny):
    with pytest.raises(DataError, match="must be a batch"):
        reestimate_statistics(tiny, torch.randn(0, *SIZE))
    with pytest.raises(DataError, match="not a number"):
        reestimate_statistics(tiny, torch.full((8, *SIZE), float("nan")))


def test_a_layer_too_wide_to_fit_keeps_its_start_on_weights_channels_in_order(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.Flatten(), nn.Linear(32 * 36, 2)).eval()
    x = torch.randn(20, *SIZE)
    starts = {}
    for name, given in (("lstsq", None), ("wide", x)):
        monkeypatch.setattr("surgeon.surgery.refit._MOST_WIDTH", 5)
        start = "sequential" if name == "wide" else "lstsq"
        starts[name] = surgeon.apply(model, {"op": "kap", "start": start}, input_size=SIZE, calibration=given)
    wide = starts["wide"]
    assert wide.surgery.edits[0].settings["start"] == "lstsq"
    assert torch.equal(wide.get_submodule("0").weight, starts["lstsq"].get_submodule("0").weight)
    order = wide.get_submodule("0.kap").order
    assert torch.equal(order, starts["lstsq"].get_submodule("0.kap").order)
    assert not torch.equal(order, torch.arange(32))


@pytest.mark.parametrize(
    "operation, start, kept",
    [
        ("kap", "sequential", "lstsq"),
        ("defective", "sequential", "random"),
        ("weight-map", "distill", "random"),
    ],
)
def test_layers_whose_size_another_stem_has_changed_keep_their_weights(operation, start, kept):
    torch.manual_seed(0)
    model = surgeon.create_model("test_resnet", num_classes=4, input_size=(3, 32, 32)).eval()
    recipe = [{"op": "small-image"}, {"op": operation, "start": start}]
    cut = surgeon.apply(
        model, recipe, input_size=(3, 32, 32), calibration=torch.randn(16, 3, 32, 32), trained=True
    )
    assert torch.isfinite(cut.eval()(torch.randn(2, 3, 32, 32))).all()
    assert cut.surgery.execution.statistics == 12
    # the record has the start of each site, and an operation takes it
    unfitted = cut.surgery.execution.unfitted
    own = cut.surgery.of(operation)
    assert all(e.settings["start"] == (kept if e.site in unfitted else start) for e in own)
    assert unfitted.keys() & {e.site for e in own} or operation == "defective"
    assert parse({"op": operation, "start": kept}).start_without_images(own[0]) == kept


def test_a_site_too_wide_to_fit_says_that_it_keeps_the_start_it_was_built_with():
    torch.manual_seed(0)
    wide, next_to_it, classes = nn.Conv2d(600, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 9, 3)
    net = nn.Sequential(nn.Conv2d(3, 600, 1), nn.ReLU(), wide, nn.ReLU(), next_to_it, nn.ReLU(), classes)
    recipe = {"op": "kap", "start": "sequential", "select": {"include": ["2", "4"]}}
    images = torch.randn(24, *SIZE)
    cut = surgeon.apply(net.eval(), recipe, input_size=SIZE, calibration=images)
    found = cut.surgery.execution
    assert set(found.unfitted) == {"2"} and "5,400 weights a channel are too many" in found.unfitted["2"]
    # each site's own start is in the record, and the note says which one it is and why
    assert {e.site: e.settings["start"] for e in cut.surgery.edits} == {"2": "lstsq", "4": "sequential"}
    text = (
        "2 keeps start 'lstsq', not 'sequential': 5,400 weights a channel are too many to fit (at most 5,000)"
    )
    assert [n.text for n in cut.surgery.notes if n.code == "start" and n.text.startswith("2 ")] == [text]
    # the site has the start that needs no images, and the other one has not
    plain = surgeon.apply(net.eval(), {**recipe, "start": "lstsq"}, input_size=SIZE)
    assert torch.equal(cut.get_parameter("2.weight"), plain.get_parameter("2.weight"))
    assert not torch.equal(cut.get_parameter("4.weight"), plain.get_parameter("4.weight"))
    assert surgeon.Plan.model_validate_json(cut.surgery.model_dump_json()) == cut.surgery


def test_a_record_with_a_site_too_wide_to_fit_is_saved_reverted_and_carried_out_again(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 600, 1), nn.ReLU(), nn.Conv2d(600, 16, 3), nn.ReLU(), nn.Conv2d(16, 9, 3)
    ).eval()
    recipe = {"op": "kap", "start": "sequential", "select": {"include": ["2"]}}
    cut = surgeon.apply(net, recipe, input_size=SIZE, calibration=torch.randn(24, *SIZE))
    with pytest.warns(surgeon.errors.ArtifactWarning):
        folder = surgeon.save(cut, tmp_path / "cut")
    again = surgeon.load(folder, model=copy.deepcopy(net))
    assert again.surgery == cut.surgery
    assert torch.equal(surgeon.revert(again).get_parameter("2.weight"), net.get_parameter("2.weight"))
    # the record needs no images: it says what was done
    same = surgeon.apply(net, cut.surgery, input_size=SIZE)
    assert torch.equal(same.get_parameter("2.weight"), cut.get_parameter("2.weight"))


@pytest.mark.parametrize("recipe", ["kap", "smooth-init", "wm-unsharp"])
def test_padding_in_words_is_fitted_as_in_numbers(recipe):
    """`padding="same"` of an odd kernel: it ended in "too many values to unpack"."""
    x = torch.rand(32, 3, 10, 10, generator=torch.Generator().manual_seed(3)).double()

    def cut(padding):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 16, 3, padding=padding), nn.BatchNorm2d(16), nn.ReLU()]
        layers += [nn.Conv2d(16, 16, 3, padding=padding), nn.BatchNorm2d(16), nn.ReLU()]
        network = (
            nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)).double().eval()
        )
        return surgeon.apply(network, recipe, input_size=(3, 10, 10), calibration=x)

    numbers, words = cut(1).state_dict(), cut("same").state_dict()
    assert all(torch.allclose(words[k], v, rtol=1e-8, atol=1e-10) for k, v in numbers.items())
