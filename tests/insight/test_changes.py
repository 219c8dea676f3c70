"""Changes and spread by layer, against formulas and slow computations."""

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import DataError, SurgeonError
from surgeon.insight.changes import draw_changes, draw_spread, layer_changes, spread_by_layer
from surgeon.insight.lines import told
from surgeon.insight.listening import layers, listening, outputs
from surgeon.models.pixels import Normalized


def pixels(n=4, c=3, size=8):
    return torch.rand(n, c, size, size, generator=torch.Generator().manual_seed(1))


def test_no_change_is_zero(tiny):
    found = layer_changes(tiny, pixels(), pixels().clone())
    assert list(found) == ["conv1", "bn1", "conv2", "bn2", "head"]
    assert set(found.values()) == {0.0}


def test_a_linear_network_without_bias_changes_by_the_formula():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 7, bias=False), nn.Linear(7, 3, bias=False)).double()
    x = pixels(11).double()
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    found = layer_changes(net, x, y)
    first = net[1].weight
    for name, matrix in (("1", first), ("2", net[2].weight @ first)):
        h, moved = x.flatten(1) @ matrix.T, (y - x).flatten(1) @ matrix.T
        expected = (moved.norm(dim=1) / h.norm(dim=1)).mean()  # 11 images: a full batch of 8 and one of 3
        assert found[name] == pytest.approx(float(expected), rel=1e-9)
    scaled = layer_changes(net, x, 0.75 * x)
    assert all(v == pytest.approx(0.25, rel=1e-9) for v in scaled.values())


def test_zero_activations_that_stay_zero_do_not_change_and_others_change_infinitely():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(net[2].weight)
    nn.init.zeros_(net[2].bias)
    dark = torch.zeros(1, 1, 2, 2)
    assert layer_changes(net, dark, dark + 0.5) == {"0": float("inf"), "2": 0.0}


def test_an_in_place_activation_after_the_layer_does_not_reach_the_numbers():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    x = pixels()
    spread = spread_by_layer(net, x)
    with torch.no_grad():
        first = net[0](x)
        assert spread["0"] == pytest.approx(float(first.double().std(correction=0)), rel=1e-9)
        last = net[2](first.relu())
        assert spread["2"] == pytest.approx(float(last.double().std(correction=0)), rel=1e-9)


def test_a_module_called_twice_gives_its_first_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.unused = nn.Linear(3, 3)

        def forward(self, x):
            return self.conv(self.conv(x)).mean((2, 3))

    net = Twice()
    found = outputs(net, pixels())
    assert list(found) == ["conv"]
    assert torch.equal(found["conv"].value, net.conv(pixels()).detach())


def test_what_a_surgery_inserts_counts_to_its_layer(tiny):
    x = pixels(4)
    rewritten = surgeon.apply(tiny, "kap", input_size=(3, 8, 8))
    heard, folded = outputs(rewritten, x), outputs(surgeon.fold(rewritten), x)
    assert list(heard) == list(folded)
    assert heard["conv1"].module == "conv1.kap"
    for name in heard:
        torch.testing.assert_close(heard[name].value, folded[name].value, atol=1e-4, rtol=1e-4)


def test_an_opened_norm_still_gives_what_the_fused_one_gave():
    net = timm.create_model(
        "resnetv2_50", num_classes=3, layers=(1, 1, 1, 1), channels=(16, 16, 16, 16)
    ).eval()
    x = pixels(2, size=64)
    rewritten = surgeon.apply(net, "anl", input_size=(3, 64, 64))
    stock, cut = outputs(net, x), outputs(rewritten, x)
    assert list(stock) == list(cut)
    assert any(o.module.endswith(".act") for o in cut.values())
    for name in stock:
        torch.testing.assert_close(stock[name].value, cut[name].value)


def test_models_are_left_alone_also_on_errors(tiny):
    model = Normalized(tiny, (0.5,) * 3, (0.2,) * 3)
    tiny.train()
    tiny.head.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    layer_changes(model, pixels(), 1 - pixels())
    with pytest.raises(DataError, match="range over"):
        spread_by_layer(model, pixels() + 3)
    with pytest.raises(AttributeError), listening(tiny, {"conv1": "conv1", "nothing": "nothing"}, print):
        pass
    assert flags == ([m.training for m in model.modules()], [p.requires_grad for p in model.parameters()])
    assert not any(m._forward_hooks for m in model.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_errors_name_what_is_wrong(tiny):
    with pytest.raises(DataError, match=r"\(4, 3, 8, 8\).*\(2, 3, 8, 8\)"):
        layer_changes(tiny, pixels(4), pixels(2))
    with pytest.raises(DataError):
        layer_changes(tiny, pixels(4)[:0], pixels(4)[:0])
    with pytest.raises(SurgeonError, match="Flatten calls no convolution"):
        spread_by_layer(nn.Flatten(), pixels())


def test_drawings_have_a_line_a_model_and_all_of_every_line_in_view():
    models = {"a": {"x": 0.5, "y": 1.0}, "b": {"x": 0.2, "y": 3.0, "z": 0.1}}
    figure = draw_changes({"noise": {"a": models["a"]}, "attack": models})
    assert [len(axis.lines) for axis in figure.axes] == [1, 2]
    assert all(axis.get_ylim()[0] == 0 and axis.get_ylim()[1] > 3 for axis in figure.axes)
    assert figure.axes[1].lines[1].get_xdata().tolist() == [0, 50, 100]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2]
    assert len(draw_spread({"a": {"only": 1.0}}).axes) == 1
    assert told(models).startswith(
        "a: first layer 0.5, largest 1 at y, last 1; b: first layer 0.2, largest 3 at y"
    )
    assert told({"a": {"only": 2.0}}) == "a: first layer 2, largest 2 at only, last 2"


def test_layers_below_a_layer_are_not_counted(tiny):
    recipe = surgeon.Recipe(name="r", surgery=[{"op": "kap", "pre_norm": True, "start": "naive"}])
    rewritten = surgeon.apply(tiny, recipe, input_size=(3, 8, 8))
    assert "conv1.kap.norm" in dict(rewritten.named_modules())
    assert layers(rewritten) == {**{n: n for n in layers(tiny)}, "conv1.kap": "conv1", "conv2.kap": "conv2"}
    assert set(layers(tiny, activations=True)) - set(layers(tiny)) == {"act1"}
