"""Residual sums, attention, stems and heads as sites: named, and where the stock network has the same values."""

import copy
import pickle
import types

import pytest
import timm
import torch
import torchvision
from torch import nn

import surgeon
from surgeon.errors import SelectionError, TraceError
from surgeon.graph.trees.leaves import is_activation
from surgeon.testing import check_operation
from tests.graph.between import Bent, plug

SIZE = (3, 32, 32)
MAKE = {
    "resnet": lambda: timm.create_model("resnet18", num_classes=5, channels=(16, 32, 64, 128)),
    "convnext": lambda: timm.create_model(
        "convnext_atto",
        num_classes=5,
        depths=(1, 2, 1, 1),
        dims=(8, 16, 24, 32),
        ls_init_value=0.5,
        drop_path_rate=0.1,
    ),
    "vit": lambda: timm.create_model(
        "vit_tiny_patch16_224", num_classes=5, img_size=32, depth=2, embed_dim=48, init_values=0.5
    ),
    "swin": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=5,
        img_size=32,
        window_size=2,
        depths=(2, 1),
        embed_dim=24,
        num_heads=(2, 2),
    ),
    "torchvision": lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5),
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    plug(monkeypatch)
    torch.manual_seed(0)


def made(kind):
    """Without zeros, behind which nothing is seen."""
    model = MAKE[kind]()
    for parameter in model.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, 0.0, 0.2)
    return model


def blocks(model):
    """The modules with residual connections, by name."""
    kinds = ("BasicBlock", "ConvNeXtBlock", "Block", "SwinTransformerBlock", "EncoderBlock")
    return {n: m for n, m in model.named_modules() if type(m).__name__ in kinds}


def hooked(name, at):
    """Where the stock network has a site's value: a module, and whether it is what that gives or takes."""
    block, _, call = name.rpartition(".")
    second = call == "add_2()"
    return {
        ("resnet", "after"): (f"{block}.act2", "in"),
        ("resnet", "before"): (f"{block}.bn2", "out"),
        ("convnext", "after"): (block, "out"),
        ("convnext", "before"): (f"{block}.drop_path", "out"),
        ("vit", "after"): (block, "out") if second else (f"{block}.norm2", "in"),
        ("vit", "before"): (f"{block}.drop_path{2 if second else 1}", "out"),
        ("swin", "after"): (block, "out") if second else (f"{block}.norm2", "in"),
        ("swin", "before"): (f"{block}.drop_path{2 if second else 1}", "out"),
        ("torchvision", "after"): (block, "out") if second else (f"{block}.ln_2", "in"),
        ("torchvision", "before"): (f"{block}.mlp" if second else f"{block}.dropout", "out"),
    }[at]


def listen(module, at, found, key):
    def hear(_, given, output=None):
        value = given[0] if at == "in" else output
        found[key] = (value[0] if isinstance(value, tuple) else value).detach().clone()

    return module.register_forward_pre_hook(hear) if at == "in" else module.register_forward_hook(hear)


@pytest.mark.parametrize("how", ["after", "before"])
@pytest.mark.parametrize("kind", MAKE)
def test_a_layer_at_a_sum_sees_what_the_stock_network_has_there(kind, how):
    model = made(kind).double().eval()
    stock = copy.deepcopy(model)
    cut = surgeon.apply(model, {"op": "between", "at": "residual", "how": how, "same": True}, input_size=SIZE)
    edits = cut.surgery.edits
    each = 1 if kind in ("resnet", "convnext") else 2
    names = [f"{b}.{c}" for b in blocks(model) for c in ("add()", "add_2()")[:each]]
    assert [e.site for e in edits] == names
    seen, wanted = {}, {}
    for edit in edits:
        listen(cut.get_submodule(edit.layer), "in", seen, edit.site)
        place, at = hooked(edit.site, (kind, how))
        listen(stock.get_submodule(place), at, wanted, edit.site)
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    assert torch.allclose(cut(x), stock(x), rtol=1e-12, atol=1e-13)
    sites = {s.name: s for s in surgeon.sites(model, input_size=SIZE)}
    for name in names:
        value = wanted[name].reshape(seen[name].shape)
        assert torch.allclose(seen[name], value, rtol=1e-12, atol=1e-13)
        site = sites[name]
        assert (site.kind, site.cls, site.out_shape) == ("residual", "Sum", tuple(seen[name].shape[1:]))
        assert site.channel_axis == (0 if kind == "resnet" or kind == "convnext" else -1)
        assert site.channels == site.out_shape[site.channel_axis]


def bent(model, name, at):
    module = model.get_submodule(name)
    if at == "in":
        module.register_forward_pre_hook(lambda m, given: (Bent()(given[0]), *given[1:]))
    else:
        module.register_forward_hook(
            lambda m, given, out: (Bent()(out[0]), *out[1:]) if isinstance(out, tuple) else Bent()(out)
        )


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (k, h)
        for k in MAKE
        for h in ("after", "before")
        if (k, h) not in {("swin", "after"), ("vit", "after")}
    ],
)
def test_what_stands_behind_a_sum_gets_what_the_layer_gives(kind, how, tmp_path):
    model = made(kind).double().eval()
    stock, x = copy.deepcopy(model), torch.randn(2, *SIZE, dtype=torch.float64)
    last = "**.add()" if kind in ("resnet", "convnext") or how == "before" else "**.add_2()"
    cut = surgeon.apply(
        model, {"op": "between", "at": "residual", "how": how, "select": {"include": last}}, input_size=SIZE
    )
    for edit in cut.surgery.edits:
        bent(stock, *hooked(edit.site, (kind, how)))
    assert not torch.allclose(stock(x), model(x), rtol=1e-4)
    assert torch.allclose(cut(x), stock(x), rtol=1e-10, atol=1e-12)
    assert torch.equal(pickle.loads(pickle.dumps(cut))(x), cut(x))
    back = surgeon.revert(cut)
    assert torch.equal(back(x), model(x)) and [*back.state_dict()] == [*model.state_dict()]
    cut.train()(x).sum().backward()


@pytest.mark.parametrize("how", ["after", "before"])
@pytest.mark.parametrize("kind", ["vit", "swin", "torchvision"])
def test_attention_is_a_site_with_the_names_of_its_layers(kind, how):
    model = made(kind).double().eval()
    stock, x = copy.deepcopy(model), torch.randn(2, *SIZE, dtype=torch.float64)
    cut = surgeon.apply(model, {"op": "between", "at": "attention", "how": how}, input_size=SIZE)
    leaf = "self_attention" if kind == "torchvision" else "attn"
    assert [e.site for e in cut.surgery.edits] == [f"{b}.{leaf}" for b in blocks(model)]
    if kind == "torchvision" and how == "before":
        pytest.skip("query, key and value are one value there, of which the layer takes the first alone")
    for edit in cut.surgery.edits:
        bent(stock, edit.site, "in" if how == "before" else "out")
    assert not torch.allclose(stock(x), model(x), rtol=1e-4)
    assert torch.allclose(cut(x), stock(x), rtol=1e-10, atol=1e-12)
    assert torch.equal(surgeon.revert(cut)(x), model(x))
    site = next(s for s in surgeon.sites(model, input_size=SIZE) if s.kind == "attention")
    if kind == "torchvision":
        assert site.parts.model_dump(exclude_none=True) == {"projection": f"{site.name}.out_proj"}
    else:
        assert site.parts.query == site.parts.key == site.parts.value == f"{site.name}.qkv"
        assert site.parts.projection == f"{site.name}.proj"
    assert site.channel_axis == -1 and site.out_shape == site.in_shape


@pytest.mark.parametrize("fused", [True, False])
def test_the_names_of_attentions_layers_do_not_hang_on_how_it_is_computed(fused):
    model = made("vit").eval()
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    sites = [s for s in surgeon.sites(model, input_size=SIZE) if s.kind == "attention"]
    assert [s.name for s in sites] == [f"{b}.attn" for b in blocks(model)]
    for site in sites:
        assert site.parts.query == site.parts.key == site.parts.value == f"{site.name}.qkv"
        assert site.parts.projection == f"{site.name}.proj"


def test_layers_inside_of_attention_and_behind_it_stand_together():
    model = made("vit").double().eval()
    stock, x = copy.deepcopy(model), torch.randn(2, *SIZE, dtype=torch.float64)
    recipe = [
        {"op": "between", "at": "attention"},
        {"op": "between", "at": "linear", "select": {"include": "**.qkv"}},
    ]
    cut = surgeon.apply(model, recipe, input_size=SIZE)
    for edit in cut.surgery.edits:
        bent(stock, edit.site, "out")
    assert len(cut.surgery.edits) == 4 and torch.allclose(cut(x), stock(x), rtol=1e-10, atol=1e-12)
    with pytest.raises(surgeon.errors.SurgeryError, match="called by itself"):
        cut.blocks[0].attn(torch.randn(1, 5, 48, dtype=torch.float64))


def test_no_module_takes_the_place_of_attention():
    model = made("vit")
    plan = surgeon.plan(model, {"op": "between", "at": "attention", "how": "replace"}, input_size=SIZE)
    assert not plan.edits and {p.reason for p in plan.passed_over if p.operation == "between"} == {
        "the layers inside of it are called, and another module in its place would not be"
    }


@pytest.mark.parametrize(
    ("name", "stem", "heads"),
    [
        ("resnet18", "conv1", ["fc"]),
        ("convnext_atto", "stem.0", ["head.fc"]),
        ("vit_tiny_patch16_224", "patch_embed.proj", ["head"]),
        ("swin_tiny_patch4_window7_224", "patch_embed.proj", ["head.fc"]),
        ("deit_tiny_distilled_patch16_224", "patch_embed.proj", ["head", "head_dist"]),
        ("resnet18d", "conv1.0", ["fc"]),
        ("torchvision/vgg11", "features.0", ["classifier.6"]),
        ("torchvision/squeezenet1_1", "features.0", ["classifier.1"]),
    ],
)
def test_stem_and_head_are_layers_with_a_role(name, stem, heads):
    with torch.device("meta"):
        model = surgeon.create_model(name)
    sites = surgeon.sites(model, input_size=(3, 224, 224))
    assert [s.name for s in sites if s.is_a("stem")] == [stem]
    assert [s.name for s in sites if s.is_a("head")] == heads
    assert {s.kind for s in sites if s.role} <= {"conv", "linear"}
    for kind, names in (("stem", [stem]), ("head", heads)):
        plan = surgeon.plan(model, {"op": "between", "at": kind}, input_size=(3, 224, 224))
        assert [e.site for e in plan.edits] == names


def test_a_network_without_a_classifier_has_no_head():
    model = timm.create_model("resnet18", num_classes=0)
    with pytest.raises(SelectionError, match="no head site"):
        surgeon.plan(model, {"op": "between", "at": "head"}, input_size=SIZE)


class Odd(nn.Module):
    """Sums that are no residual connections, and one that is written in place into a value that is read again."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(i, 4, 3, padding=1) for i in (3, 4, 4))
        self.bias, self.fc = nn.Parameter(torch.randn(4, 1, 1)), nn.Linear(4, 5)

    def forward(self, x):
        x = self.one(x) + self.bias
        x = x + 0.1 * x.tanh()
        y = self.two(x)
        keep = y
        y += self.three(y)
        sizes = x.shape[2] + x.shape[3]
        return self.fc((y * keep).mean((2, 3)) * sizes / 64)


@pytest.mark.parametrize("how", ["after", "before"])
def test_other_sums_are_none_and_one_in_place_keeps_its_meaning(how):
    model, x = Odd().double().eval(), torch.randn(2, *SIZE, dtype=torch.float64)
    sites = [s.name for s in surgeon.sites(model, input_size=SIZE) if s.kind == "residual"]
    assert sites == ["add()"]
    cut = surgeon.apply(model, {"op": "between", "at": "residual", "how": how}, input_size=SIZE)
    a = model.one(x) + model.bias
    y = model.two(a + 0.1 * a.tanh())
    y = Bent()(y + model.three(y)) if how == "after" else y + Bent()(model.three(y))
    assert torch.allclose(cut(x), model.fc((y * y).mean((2, 3))), rtol=1e-12)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("at", ["residual", "stem", "head"])
def test_operations_at_these_kinds_do_what_every_operation_must(kind, at):
    check_operation({"op": "between", "at": at, "same": True}, made(kind), input_size=SIZE)


@pytest.mark.parametrize("kind", ["vit", "swin", "torchvision"])
def test_operations_at_attention_do_what_every_operation_must(kind):
    check_operation({"op": "between", "at": "attention"}, made(kind), input_size=SIZE)


def test_a_folder_keeps_layers_at_each_kind(tmp_path):
    model = surgeon.create_model(
        "vit_tiny_patch16_224", num_classes=5, model_args={"depth": 2, "img_size": 32}
    ).eval()
    recipe = [{"op": "between", "at": k} for k in ("stem", "attention", "residual", "head")]
    cut, x = surgeon.apply(model, recipe, input_size=SIZE).eval(), torch.randn(2, *SIZE)
    surgeon.save(cut, tmp_path / "cut")
    again = surgeon.load(tmp_path / "cut").eval()
    assert torch.equal(again(x), cut(x)) and again.surgery.edits == cut.surgery.edits
    assert torch.equal(surgeon.revert(again)(x), model(x))


def test_selectors_choose_among_sums_by_stage_order_and_channels():
    model = made("resnet")

    def chosen(**select):
        plan = surgeon.plan(model, {"op": "between", "at": "residual", "select": select}, input_size=SIZE)
        return [e.site for e in plan.edits]

    assert chosen(stages=[2]) == ["layer2.0.add()", "layer2.1.add()"]
    assert chosen(channels=">=128") == ["layer4.0.add()", "layer4.1.add()"]
    assert chosen(every=4, offset=1) == ["layer1.1.add()", "layer3.1.add()"]
    assert chosen(include="layer1.**") == ["layer1.0.add()", "layer1.1.add()"]


def test_before_attention_that_takes_several_values_is_refused():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv, self.proj = nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(8, 8)

        def forward(self, x, context):
            k, v = self.kv(context).chunk(2, -1)
            return self.proj((self.q(x) @ k.transpose(1, 2)).softmax(-1) @ v)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.cross, self.fc = nn.Conv2d(3, 8, 8, 8), Cross(), nn.Linear(8, 5)

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose(1, 2)
            return self.fc(self.cross(x, x.flip(1)).mean(1))

    model = Net()
    site = next(s for s in surgeon.sites(model, input_size=SIZE) if s.kind == "attention")
    assert (site.parts.query, site.parts.key) == ("cross.q", "cross.kv")
    with pytest.raises(TraceError, match="nothing can stand before it"):
        surgeon.apply(model, {"op": "between", "at": "attention", "how": "before"}, input_size=SIZE)


def test_fits_to_images_see_through_a_sum_with_a_layer():
    """What a convolution is fitted to is the sum behind it, whether or not a layer hangs there."""
    model = made("resnet").eval()
    images = torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(0))
    kap = {"op": "kap", "start": "sequential", "select": {"include": "layer1.**"}}
    alone = surgeon.apply(model, kap, input_size=SIZE, calibration=images)
    both = surgeon.apply(
        model, [kap, {"op": "between", "at": "residual", "same": True}], input_size=SIZE, calibration=images
    )
    names = [f"layer1.{b}.conv{c}.weight" for b in (0, 1) for c in (1, 2)]
    one, other = alone.state_dict(), both.state_dict()
    assert not torch.allclose(one[names[1]], model.state_dict()[names[1]], rtol=1e-2)
    assert all(torch.allclose(one[n], other[n], rtol=1e-4, atol=1e-5) for n in names)


def test_activations_of_other_libraries_are_known_by_their_file():
    """transformers has classes of its own for GELU and others, and one for the identity beside them."""
    home = types.ModuleType("transformers.activations")
    for name in ("GELUActivation", "LinearActivation"):
        setattr(
            home, name, type(name, (nn.Module,), {"forward": lambda self, x: x, "__module__": home.__name__})
        )
    assert is_activation(home.GELUActivation()) and not is_activation(home.LinearActivation())
    assert is_activation(nn.GELU()) and not is_activation(nn.MultiheadAttention(4, 1))
