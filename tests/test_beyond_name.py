"""Networks that were changed in code after they were made: a folder gives the same network back, or says that
it cannot."""

import json
import types

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning
from surgeon.store.beyond_name import beyond_name

SIZE = (3, 32, 32)


def made(change=None, **more):
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=4, **more)
    if change:
        change(model)
    return model.eval()


def stride(model):
    model.conv1.stride = (1, 1)


def epsilon(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.1


def pooling(model):
    model.maxpool = nn.Identity()


def activation(model):
    model.layer1[0].act1 = nn.Tanh()


def forward(model):
    model.layer1[0].forward = lambda x: 2 * x.roll(1, 1)


def method(model):
    model.forward_features = types.MethodType(lambda self, x: 2 * type(self).forward_features(self, x), model)


def outputs(model):
    with torch.no_grad():
        return model(torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0)))


@pytest.fixture(params=[False, True], ids=["stock", "cut"])
def cut(request):
    """What is written: the network itself, or cut."""
    return lambda m: surgeon.apply(m, "kap", input_size=SIZE).eval() if request.param else m


@pytest.mark.parametrize("change", [stride, epsilon])
def test_settings_come_back(tmp_path, cut, change):
    model = cut(made(change))
    assert not torch.equal(outputs(model), outputs(cut(made()))), "the change is seen"
    surgeon.save(model, tmp_path / "out")
    assert torch.equal(outputs(surgeon.load(tmp_path / "out")), outputs(model))
    folded = surgeon.fold(surgeon.load(tmp_path / "out")) if hasattr(model, "surgery") else model
    surgeon.save(folded, tmp_path / "folded")
    assert torch.equal(outputs(surgeon.load(tmp_path / "folded")), outputs(folded))


@pytest.mark.parametrize(
    ("change", "told"),
    [(pooling, "maxpool is Identity, not MaxPool2d"), (activation, "layer1.0.act1 is Tanh, not ReLU")],
)
def test_another_module_is_told_and_never_replaced_by_the_old_one(tmp_path, cut, change, told):
    model = cut(made(change))
    with pytest.warns(ArtifactWarning, match=told):
        surgeon.save(model, tmp_path / "out")
    with pytest.raises(
        ArtifactError,
        match=rf"{told}; pass a network with the same changes, .*surgeon.load\(folder, model=…\)",
    ):
        surgeon.load(tmp_path / "out")
    again = surgeon.load(tmp_path / "out", model=made(change))
    assert torch.equal(outputs(again), outputs(model))
    with pytest.raises(
        ArtifactError, match=f"that was written: {told.replace(' is ', ' was ')}, and is as its"
    ):
        surgeon.load(tmp_path / "out", model=made())


@pytest.mark.parametrize(("change", "where"), [(forward, "layer1.0.forward"), (method, "forward_features")])
def test_a_method_of_its_own_is_told(tmp_path, change, where):
    model = made(change)
    assert not torch.equal(outputs(model), outputs(made())), "the change is seen"
    with pytest.warns(ArtifactWarning, match=f"{where} is a function of its own, not that of"):
        surgeon.save(model, tmp_path / "out")
    with pytest.raises(ArtifactError, match=f"{where} is a function of its own"):
        surgeon.load(tmp_path / "out")
    assert torch.equal(outputs(surgeon.load(tmp_path / "out", model=made(change))), outputs(model))


def test_what_accelerate_puts_around_a_forward_is_not(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = made()
    accelerate.hooks.add_hook_to_module(model.layer1[0], accelerate.hooks.ModelHook())
    surgeon.save(model, tmp_path / "out")
    assert torch.equal(outputs(surgeon.load(tmp_path / "out")), outputs(made()))


def test_a_network_that_nobody_changed_takes_none_that_somebody_did(tmp_path, cut):
    surgeon.save(cut(made()), tmp_path / "out")
    with pytest.raises(ArtifactError, match="maxpool was as its name makes it, and is Identity"):
        surgeon.load(tmp_path / "out", model=made(pooling))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["settings"], config["exchanged"]) == ({}, {})


def test_arguments_that_timm_does_not_remember(tmp_path):
    """timm keeps no word of them in the network."""
    surgeon.save(made(drop_rate=0.2), tmp_path / "drop")
    assert surgeon.load(tmp_path / "drop").drop_rate == 0.2
    strided = timm.create_model("resnet18", num_classes=4, output_stride=8).eval()
    surgeon.save(strided, tmp_path / "stride")
    assert torch.equal(outputs(surgeon.load(tmp_path / "stride")), outputs(strided))


def test_what_weights_bring_with_them(tmp_path, monkeypatch):
    """torchvision's pretrained GoogLeNet normalises otherwise than one that is made by name."""
    from torchvision.models import GoogLeNet_Weights, googlenet

    known = googlenet(
        init_weights=False, transform_input=True
    )  # with auxiliary heads, as the file of weights has them
    monkeypatch.setattr(GoogLeNet_Weights, "get_state_dict", lambda *a, **k: known.state_dict())
    model = surgeon.create_model("torchvision/googlenet", pretrained=True).eval()
    assert model.transform_input
    surgeon.save(model, tmp_path / "out")
    assert surgeon.load(tmp_path / "out").transform_input


@pytest.mark.parametrize(
    "settings",
    [
        {"conv1.weight": 1},
        {"conv1.stride": 2},
        {"conv1.stride": [1, 1, 1]},
        {"conv1.stride": [2**40, 1]},
        {"conv1.forward": "x"},
        {"nothing.eps": 0.1},
        {"bn1.eps": "0.1"},
        {"bn1.track_running_stats": 1},
        {"__class__": "x"},
    ],
)
def test_settings_of_a_folder_are_plain_values_of_the_kind_that_is_there(tmp_path, settings):
    surgeon.save(made(), tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": settings}))
    with pytest.raises(ArtifactError, match="config.json.*: "):
        surgeon.load(tmp_path / "out")


@pytest.mark.parametrize("recipe", ["kap", "anl", "wm-unsharp", "defective"])
@pytest.mark.parametrize(
    "name", ["test_resnet", "test_efficientnet", "torchvision/shufflenet_v2_x0_5", "torchvision/mnasnet0_5"]
)
def test_a_network_as_its_name_makes_it_is_not_told_to_be_another(name, recipe):
    """Fused norms, replaced and inserted layers, and what folds again among them."""
    stock = surgeon.create_model(name, num_classes=4, input_size=SIZE)
    cut = surgeon.apply(stock, recipe, input_size=SIZE)
    assert beyond_name(cut, stock) == ({}, {})
    assert beyond_name(surgeon.revert(cut), stock) == ({}, {})
    if recipe == "anl":
        assert beyond_name(surgeon.fold(cut), stock) == ({}, {})


class Scale(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.register_buffer("by", torch.tensor(by), persistent=False)

    def forward(self, x):
        return x * self.by


def leaky(slope):
    return nn.LeakyReLU(slope)


def smoothed(kernel):
    return nn.Sequential(nn.ReLU(), nn.AvgPool2d(kernel, stride=1, padding=kernel // 2))


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
@pytest.mark.parametrize(
    ("kind", "one", "other", "told"),
    [
        (leaky, 0.3, 0.01, r"was LeakyReLU\(negative_slope=0.3\), not ReLU, and is .*0.01\), not"),
        (smoothed, 3, 5, r"was Sequential \(digest \w+\), not ReLU, and is Sequential \(digest"),
        (Scale, 2.0, 3.0, r"was Scale \(digest \w+\), not ReLU, and is Scale \(digest"),
    ],
)
def test_a_module_of_the_same_class_with_other_settings_is_another_one(tmp_path, cut, kind, one, other, told):
    def with_(setting):
        return made(lambda m: setattr(m.layer1[0], "act1", kind(setting)), zero_init_last=False)

    model = cut(with_(one))
    assert not torch.equal(outputs(model), outputs(cut(with_(other)))), "the settings are seen"
    surgeon.save(model, tmp_path / "out")
    assert torch.equal(outputs(surgeon.load(tmp_path / "out", model=with_(one))), outputs(model))
    with pytest.raises(ArtifactError, match=f"layer1.0.act1 {told}"):
        surgeon.load(tmp_path / "out", model=with_(other))


@pytest.mark.filterwarnings("error::surgeon.errors.ArtifactWarning")
@pytest.mark.parametrize("recipe", [None, "noise"])
def test_what_a_networks_code_makes_again_for_another_size_is_no_change_of_it(tmp_path, recipe):
    """ConViT keeps the positions of the last input's size in a buffer that no file holds."""
    small = {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 4, "local_up_to_layer": 1}
    model = surgeon.create_model("convit_tiny", num_classes=3, input_size=SIZE, model_args=small).eval()
    model = surgeon.apply(model, recipe, input_size=SIZE).eval() if recipe else model
    wanted = outputs(model)
    again = surgeon.load(surgeon.save(model, tmp_path / "out"))
    assert torch.equal(outputs(again), wanted)


def test_what_forward_fills_in_at_its_first_call_is_no_change():
    """As torchvision's pooling of regions does with the scales of its pyramid."""

    class Filled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scales, self.width, self.limit = None, None, 1.0

        def forward(self, x):
            if self.scales is None:
                self.scales = [1 / side for side in x.shape[2:]]
            self.limit = 2.0
            return x * self.scales[0]

        def set_width(self, width):
            self.width = width

    model = Filled()
    model(torch.rand(1, 3, 4, 4))
    model.set_width(3)
    beyond = beyond_name(model, Filled())
    assert set(beyond.exchanged) == {"width"} and beyond.settings == {"limit": 2.0}
