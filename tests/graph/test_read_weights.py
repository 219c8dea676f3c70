"""Layers that are never called, because a function reads their weight, are sites where that can be told."""

import copy
import pickle
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import surgeon
from surgeon.errors import SelectionError, TraceError
from surgeon.testing import check_operation
from tests.graph.between import Bent, plug

SIZE = (3, 16, 16)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    plug(monkeypatch)
    torch.manual_seed(0)


class Reading(nn.Module):
    """Reads the weights of `conv` and `fc` once, those of `scaled` and `twice` in other ways."""

    def __init__(self, width=4):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.conv = nn.Conv2d(width, width, 3)
        self.scaled, self.twice, self.fc = (nn.Linear(width, n) for n in (width, width, 5))

    def forward(self, x):
        x = F.conv2d(self.stem(x), weight=self.conv.weight, bias=self.conv.bias)
        x = x.relu().mean((2, 3))
        x = F.linear(x, 2 * self.scaled.weight) + x
        x = F.linear(x, self.twice.weight) + self.twice.weight.sum()
        return F.linear(x, self.fc.weight, torch.cat([self.fc.bias[:2], self.fc.bias[2:]]))


def tapped(monkeypatch, model, names, images):
    """The stock network's output with a layer after the functions that read these layers' weights."""
    weights = {id(model.get_submodule(n).weight) for n in names}
    for name in ("linear", "conv2d"):
        stock = getattr(F, name)

        def called(x, weight, bias=None, *args, stock=stock, **more):
            y = stock(x, weight, bias, *args, **more)
            return Bent()(y) if id(weight) in weights else y

        monkeypatch.setattr(F, name, called)
    found = model(images)
    monkeypatch.undo()
    return found


def test_a_function_that_reads_one_weight_is_the_layer(monkeypatch):
    model = Reading().double()
    sites = {s.name: s for s in surgeon.sites(model, input_size=SIZE)}
    assert {n for n, s in sites.items() if s.kind in ("conv", "linear")} == {"stem", "conv", "fc"}
    conv, fc = sites["conv"], sites["fc"]
    assert (conv.read, conv.in_shape, conv.out_shape, conv.channel_axis) == (
        True,
        (4, 14, 14),
        (4, 12, 12),
        0,
    )
    assert (fc.read, fc.in_shape, fc.out_shape) == (True, (4,), (5,)) and "read by a function" in fc.altered
    assert not sites["stem"].read and not sites["stem"].altered
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    cut = surgeon.apply(model, {"op": "between", "at": "linear"}, input_size=SIZE)
    again = surgeon.apply(model, {"op": "between", "at": "conv"}, input_size=SIZE)
    assert [e.site for e in cut.surgery.edits] == ["fc"]
    assert torch.allclose(cut(x), Bent()(model(x)), rtol=1e-12)
    plug(monkeypatch)
    assert torch.allclose(again(x), tapped(monkeypatch, model, ["stem", "conv"], x), rtol=1e-12)
    assert torch.equal(surgeon.revert(again)(x), model(x))


def test_before_such_a_layer():
    model = Reading().double()
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    cut = surgeon.apply(
        model,
        {"op": "between", "at": "conv", "how": "before", "select": {"include": "conv"}},
        input_size=SIZE,
    )
    twin = Reading().double()
    twin.load_state_dict(model.state_dict())
    twin.stem = nn.Sequential(model.stem, Bent())
    assert torch.allclose(cut(x), twin(x), rtol=1e-12)


def test_no_module_takes_its_place():
    model = Reading()
    plan = surgeon.plan(model, {"op": "between", "at": "conv", "how": "replace"}, input_size=SIZE)
    assert [e.site for e in plan.edits] == ["stem"]
    assert any(p.site == "conv" and "would not be called" in p.reason for p in plan.passed_over)
    assert not any("only modules are cut" in p.reason for p in plan.passed_over)


def test_a_convolution_on_weights_of_no_module_is_told_as_before():
    class Raw(Reading):
        def forward(self, x):
            return super().forward(F.conv2d(x, self.stem.weight[:3], padding=1))

    plan = surgeon.plan(Raw(), {"op": "between", "at": "conv"}, input_size=SIZE)
    assert any("calls conv2d" in p.reason for p in plan.passed_over)


@pytest.mark.parametrize("operation", [{"op": "kap"}, {"op": "identity"}, {"op": "defective"}], ids=str)
def test_operations_on_convolutions_hold_there(operation):
    check_operation(operation, Reading(16), input_size=SIZE)


NETWORKS = {
    "beit_base_patch16_224": (
        dict(img_size=32, depth=2, embed_dim=48, num_heads=4, init_values=None),
        "**.qkv",
    ),
    "swinv2_tiny_window8_256": (
        dict(img_size=32, window_size=4, depths=(1, 1), embed_dim=24, num_heads=(3, 6)),
        "**.qkv",
    ),
    "convit_tiny": (dict(img_size=32, depth=3, local_up_to_layer=2), "**.attn.*"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_attention_of_libraries(name, monkeypatch, tmp_path):
    arguments, glob = NETWORKS[name]
    model = surgeon.create_model(name, num_classes=5, model_args=arguments).double().eval()
    for parameter in model.parameters():  # some begin as zeros, behind which nothing is seen
        nn.init.normal_(parameter, 0.0, 0.2) if parameter.abs().max() == 0 else None
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    cut = surgeon.apply(
        model, {"op": "between", "at": "linear", "select": {"include": glob}}, input_size=(3, 32, 32)
    )
    names = [e.site for e in cut.surgery.edits]
    assert len(names) == {"beit": 2, "swin": 2, "conv": 10}[name[:4]]
    wanted = tapped(monkeypatch, model, names, x)
    plug(monkeypatch)
    assert not torch.allclose(wanted, model(x), rtol=1e-6)
    assert torch.allclose(cut(x), wanted, rtol=1e-10, atol=1e-12)
    assert torch.equal(pickle.loads(pickle.dumps(cut))(x), cut(x))
    assert torch.equal(surgeon.revert(cut)(x), model(x))
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut").double().eval()
    assert torch.allclose(loaded(x), cut(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ran", [False, True])
def test_convit_at_another_size_and_back(ran, tmp_path):
    """Its table of positions is a buffer that is not saved; each graph has the table of its size."""
    make = partial(timm.create_model, "convit_tiny", num_classes=5, img_size=32, depth=2, local_up_to_layer=1)
    stock = make().double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    if ran:
        stock(x)
    cut = surgeon.apply(stock, {"op": "identity", "at": "norm"}, input_size=(3, 32, 32)).eval()
    stock = copy.deepcopy(stock)
    for network in (cut, stock):
        network.patch_embed.img_size = None  # it takes other sizes then
        network.pos_embed = nn.Parameter(network.pos_embed[:, :1].clone())
    for images in (x, x[:, :, :16, :16], x, x[:1]):
        assert torch.allclose(cut(images), stock(images), rtol=1e-12)


def test_torchs_attention_has_its_projection():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.attention, self.fc = nn.Conv2d(3, 8, 4, 4), layer.self_attn, nn.Linear(8, 5)

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose(1, 2)
            y, _ = self.attention(x, x, x, need_weights=False)
            return self.fc((x + y).mean(1))

    model = Net().double().eval()
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    cut = surgeon.apply(
        model, {"op": "between", "at": "linear", "select": {"include": "**.out_proj"}}, input_size=SIZE
    )
    tokens = model.stem(x).flatten(2).transpose(1, 2)
    y = Bent()(model.attention(tokens, tokens, tokens)[0])
    assert torch.allclose(cut(x), model.fc((tokens + y).mean(1)), rtol=1e-12)
    site = {s.name: s for s in surgeon.sites(model, input_size=SIZE)}["attention.out_proj"]
    assert (site.out_shape, site.channel_axis, site.read) == ((16, 8), -1, True)
    with pytest.raises(TraceError, match="nothing can stand before it"):
        surgeon.apply(
            model,
            {"op": "between", "at": "linear", "how": "before", "select": {"include": "**.out_proj"}},
            input_size=SIZE,
        )


def test_parts_of_detectors_that_no_graph_shows():
    model = torchvision.models.detection.fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=64
    ).double()
    model.eval()
    names = ["backbone.fpn.inner_blocks.0.0", "head.classification_head.conv.0"]
    cut = surgeon.apply(model, {"op": "between", "at": "conv", "select": {"include": names}})
    assert [e.site for e in cut.surgery.edits] == names
    x, heard = [torch.rand(3, 64, 64, dtype=torch.float64)], []

    def run(network):
        handle = network.head.register_forward_hook(lambda m, a, o: heard.append(o["cls_logits"]))
        network(x)
        handle.remove()
        return heard[-1]

    found, stock = run(cut), run(model)
    hooks = [model.get_submodule(n).register_forward_hook(lambda m, a, o: Bent()(o)) for n in names]
    wanted = run(model)
    assert len(hooks) == 2 and not torch.allclose(stock, wanted, rtol=1e-6)
    assert torch.allclose(found, wanted, rtol=1e-12)


def _swin(block=None):
    torch.manual_seed(0)
    more = {"block": block} if block else {}
    return torchvision.models.SwinTransformer(
        [2, 2], 16, [2], [2], [4, 4], num_classes=5, stochastic_depth_prob=0.0, **more
    )


@pytest.mark.parametrize("block", [None, torchvision.models.swin_transformer.SwinTransformerBlockV2])
def test_windowed_attention_that_one_function_does_has_its_projection(block):
    """torchvision's function is given both weights: what it gives is the projection's, the rest stays inside of it."""
    model, x = (
        _swin(block).double().eval(),
        torch.rand(2, 3, 14, 14, dtype=torch.float64),
    )  # windows are padded
    names = ["features.1.0.attn.proj", "features.1.1.attn.proj"]
    sites = {s.name: s for s in surgeon.sites(model, input_size=(3, 14, 14))}
    for name in names:
        assert (sites[name].out_shape, sites[name].channel_axis, sites[name].read) == ((7, 7, 16), -1, True)
        assert name.replace("proj", "qkv") not in sites
    recipe = {"op": "between", "at": "linear", "select": {"include": names}}
    cut = surgeon.apply(model, recipe, input_size=(3, 14, 14)).eval()
    assert [e.site for e in cut.surgery.edits] == names
    bent = copy.deepcopy(model)
    for name in names:
        bent.get_submodule(name.removesuffix(".proj")).register_forward_hook(lambda m, a, o: Bent()(o))
    assert torch.allclose(cut(x), bent(x), rtol=1e-12) and not torch.allclose(cut(x), model(x), rtol=1e-3)
    assert torch.equal(surgeon.revert(cut)(x), model(x))
    with pytest.raises(
        TraceError, match="inside of attention that is kept whole: nothing can stand before it"
    ):
        surgeon.apply(model, {**recipe, "how": "before"}, input_size=(3, 14, 14))


def test_no_module_takes_the_place_of_the_projection_of_windowed_attention():
    made = surgeon.plan(_swin(), "parametric-noise", input_size=(3, 14, 14))
    passed = {p.site: p.reason for p in made.passed_over}
    assert "its weight is read by a function" in passed["features.1.0.attn.proj"]
    assert [e.site for e in made.edits if e.site.startswith("features.1.0")] == [
        "features.1.0.mlp.0",
        "features.1.0.mlp.3",
    ]


def test_query_key_and_value_of_windowed_attention_are_passed_over_and_named_where_they_are_asked_for():
    model, size = _swin(), (3, 14, 14)
    inside = "its weight is used inside of shifted_window_attention, which torch.fx keeps whole"
    recipe = {"op": "between", "at": "linear"}
    made = surgeon.plan(model, recipe, input_size=size)
    passed = {p.site: p.reason for p in made.passed_over}
    names = [f"features.1.{i}.attn.qkv" for i in (0, 1)]
    assert [passed[n] for n in names] == [inside] * 2 and not {e.site for e in made.edits} & {*names}
    found = surgeon.plan(model, {**recipe, "select": {"include": "**.attn.*"}}, input_size=size)
    assert [e.site for e in found.edits] == [n.replace("qkv", "proj") for n in names]
    with pytest.raises(SelectionError) as told:
        surgeon.plan(model, {**recipe, "select": {"include": "**.qkv"}}, input_size=size)
    assert "no linear site matches '**.qkv'" in str(told.value)
    assert f"({names[0]} and 1 more are no sites: {inside})" in str(told.value)
    with pytest.raises(SelectionError, match=r"1\.1\.attn\.qkv is no site: its weight"):
        surgeon.plan(model, {**recipe, "select": {"include": names[1]}}, input_size=size)
    with pytest.raises(SelectionError, match="2 more lie where"):  # nothing of them was asked for
        surgeon.plan(model, "soft-pool", input_size=size)
