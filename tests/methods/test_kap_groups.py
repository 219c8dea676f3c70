"""KAP behind convolutions with groups: the start solves the problem that they pose, its error is told, and depthwise
ones of trained networks are passed over."""

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.methods.kap import pooling_matrix
from surgeon.methods.kap.weights import lstsq_grouped_weight

SIZE = (3, 16, 16)


def written_out(weight, groups):
    """The weight of the same convolution with groups=1, zeros between the groups."""
    channels, inner = weight.shape[0], weight.shape[1]
    wide = weight.new_zeros(channels, inner * groups, *weight.shape[2:])
    for c in range(channels):
        k = c // (channels // groups)
        wide[c, k * inner : (k + 1) * inner] = weight[c]
    return wide


@pytest.mark.parametrize(("channels", "groups"), [(16, 16), (16, 4), (18, 2), (16, 1)])
@pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.1])
def test_it_is_the_least_squares_solution_with_the_zeros_written_out(channels, groups, ridge):
    weight = torch.randn(channels, 2, 3, 3, dtype=torch.float64)
    matrix = pooling_matrix(channels, 3)
    found, error = lstsq_grouped_weight(weight, matrix, groups, ridge)
    variable = found.clone().requires_grad_()
    apart = torch.einsum("oc,cikl->oikl", matrix, written_out(variable, groups)) - written_out(weight, groups)
    loss = apart.square().sum() + ridge * variable.square().sum()
    (gradient,) = torch.autograd.grad(loss, variable)  # convex: where it vanishes is the minimum
    assert float(gradient.abs().max()) < 1e-9
    assert error == pytest.approx(float(apart.detach().norm() / weight.norm()), rel=1e-9, abs=1e-9)


def test_no_weights_undo_a_pooling_of_depthwise_channels():
    for seed in range(3):
        weight = torch.randn(64, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        assert 0.9 < lstsq_grouped_weight(weight, pooling_matrix(64, 3), 64)[1] < 0.95


@pytest.fixture(scope="module")
def mobile():
    torch.manual_seed(0)
    return timm.create_model("mobilenetv3_small_050", num_classes=5).eval()


def depthwise(model):
    return {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1}


def test_depthwise_convolutions_of_trained_networks_are_passed_over_with_the_reason(mobile):
    plan = surgeon.plan(mobile, "kap", input_size=SIZE, trained=True)
    assert not depthwise(mobile) & {e.site for e in plan.edits}
    passed = {p.site: p.reason for p in plan.passed_over}
    assert all("depthwise=true takes it in" in passed[n] for n in depthwise(mobile))
    fresh = surgeon.plan(mobile, "kap", input_size=SIZE, trained=False)
    asked = surgeon.plan(mobile, {"op": "kap", "depthwise": True}, input_size=SIZE, trained=True)
    annealed = surgeon.plan(mobile, {"op": "kap", "start": "anneal"}, input_size=SIZE, trained=True)
    for wide in (fresh, asked, annealed):
        assert depthwise(mobile) <= {e.site for e in wide.edits}
    assert {e.effect for e in asked.edits if e.site in depthwise(mobile)} == {"destroyed"}
    assert asked.effect == "destroyed" and plan.effect == "approximated" and annealed.effect == "exact"
    none = surgeon.plan(mobile, {"op": "kap", "depthwise": False}, input_size=SIZE, trained=False)
    assert not depthwise(mobile) & {e.site for e in none.edits}


def test_the_record_has_the_error_of_each_layer(mobile):
    cut = surgeon.apply(mobile, {"op": "kap", "depthwise": True}, input_size=SIZE, trained=True)
    residuals = cut.surgery.execution.residuals
    assert all(residuals[n] > 0.8 for n in depthwise(mobile))


def test_a_network_with_one_convolution_says_that_it_is_cut_there_alone():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5)
    (note,) = [n for n in surgeon.plan(vit, "kap", input_size=(3, 32, 32)).notes if n.code == "one-layer"]
    assert note.severity == "warning" and "patch_embed.proj, beside 9 linear layers" in note.text
    assert not [
        n
        for n in surgeon.plan(timm.create_model("resnet18"), "kap", input_size=(3, 64, 64)).notes
        if n.code == "one-layer"
    ]


def test_a_transposed_convolution_with_groups_is_not_widened():
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ConvTranspose2d(16, 16, 3, groups=2), nn.Conv2d(16, 4, 1))
    cut = surgeon.apply(net.eval(), "kap-ensemble", input_size=SIZE)
    assert "1" not in [e.site for e in cut.surgery.edits] and cut(torch.zeros(2, *SIZE)).shape[0] == 2
