"""What a caller did to a network before it is saved: told at once, or when it is loaded, with what would work."""

import json

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_map

import surgeon
from surgeon.errors import ArtifactError, SurgeonError
from surgeon.evaluation.engine.fingerprints import weights_hash

SIZE = (3, 32, 32)


class Eight(torch.Tensor):
    """A weight in eight bits and a scale, in the way of torchao: a tensor without memory of its own."""

    def __new__(cls, whole, scale):
        return torch.Tensor._make_wrapper_subclass(cls, whole.shape, dtype=scale.dtype)

    def __init__(self, whole, scale):
        self.whole, self.scale = whole, scale

    def __tensor_flatten__(self):
        return ["whole", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.detach.default:
            return cls(args[0].whole, args[0].scale)
        plain = tree_map(lambda a: a.whole * a.scale if isinstance(a, cls) else a, (args, kwargs or {}))
        return function(*plain[0], **plain[1])


def quantised(weight):
    scale = weight.detach().abs().max() / 127
    return nn.Parameter(Eight((weight.detach() / scale).round().to(torch.int8), scale), requires_grad=False)


def narrow():
    return surgeon.create_model(
        "resnet18", num_classes=4, input_size=SIZE, model_args={"channels": [16] * 4}
    ).eval()


def pruned(model):
    """Two channels fewer between the convolutions of a block, as torch-pruning leaves it."""
    block = model.layer1[0]
    for name, module, axis in (("conv1", block.conv1, 0), ("bn1", block.bn1, 0), ("conv2", block.conv2, 1)):
        for key in ("weight", "bias"):
            tensor = getattr(module, key, None)
            if tensor is not None:
                setattr(module, key, nn.Parameter(tensor.detach().narrow(axis, 0, 14).clone()))
        assert name
    block.bn1.running_mean, block.bn1.running_var = (
        block.bn1.running_mean[:14].clone(),
        block.bn1.running_var[:14].clone(),
    )
    block.conv1.out_channels = block.bn1.num_features = block.conv2.in_channels = 14
    return model


@pytest.mark.parametrize("cut", [False, True])
def test_quantised_weights_are_refused_with_the_order_that_works(cut, tmp_path):
    model = surgeon.apply(narrow(), "kap", input_size=SIZE) if cut else narrow()
    model.fc.weight = quantised(model.fc.weight)
    assert model.eval()(torch.randn(2, *SIZE)).shape == (2, 4)
    text = (
        r"fc.weight is a Eight of .*, no plain tensor, .*: save the network before it is "
        r"quantised, and quantise what surgeon.load gives"
    )
    with pytest.raises(ArtifactError, match=text):
        surgeon.save(model, tmp_path / "q")
    assert not any(tmp_path.iterdir())
    one, other = weights_hash(model), weights_hash(narrow())
    model.fc.weight = quantised(model.fc.weight.scale * model.fc.weight.whole * torch.arange(16))
    assert len({one, other, weights_hash(model)}) == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.to("meta"), "conv1.weight is without values"),
        (
            lambda m: m.register_buffer("extra", torch.eye(3).to_sparse()),
            "extra is laid out as torch.sparse_coo: make it dense",
        ),
        (
            lambda m: m.register_buffer(
                "extra", torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8)
            ),
            "extra is of torch.qint8",
        ),
        (
            lambda m: m.register_module("fc", nn.LazyLinear(4)),
            "fc.weight has no shape yet: run the network once",
        ),
    ],
)
def test_other_tensors_that_no_file_holds_are_named(change, text, tmp_path):
    model = narrow()
    change(model)
    with pytest.raises(ArtifactError, match=text):
        surgeon.save(model, tmp_path / "q")
    assert not any(tmp_path.iterdir())


def test_a_pruned_network_says_so_when_it_is_saved_and_when_it_is_loaded(tmp_path):
    model = pruned(narrow())
    x = torch.randn(2, *SIZE)
    text = (
        r"not resnet18 as its name makes it: layer1.0.conv1.weight is \(14, 64, 3, 3\), not \(16, 64, 3, 3\)"
    )
    with pytest.warns(UserWarning, match=text):
        surgeon.save(model, tmp_path / "stock")
    with pytest.raises(
        ArtifactError,
        match=r"layer1.0.conv1.weight is \(14, .*surgeon.load\(folder, model=…\)",
    ):
        surgeon.load(tmp_path / "stock")
    assert torch.equal(surgeon.load(tmp_path / "stock", model=pruned(narrow()))(x), model(x))

    cut = surgeon.apply(model, "anl", input_size=SIZE).eval()
    with pytest.warns(UserWarning, match=text):
        surgeon.save(cut, tmp_path / "cut")
    with pytest.raises(
        SurgeonError, match=r"layer1.0.conv1.weight is \(14, .*surgeon.load\(folder, model=…\)"
    ):
        surgeon.load(tmp_path / "cut")
    assert torch.equal(surgeon.load(tmp_path / "cut", model=pruned(narrow()))(x), cut(x))


def test_what_a_name_makes_is_saved_without_a_word(tmp_path, recwarn):
    import timm

    for number, model in enumerate(
        (
            narrow(),
            timm.create_model("resnet18", num_classes=7),
            surgeon.create_model("torchvision/resnet18"),
            surgeon.create_model("zoo/lenet5"),
            surgeon.apply(narrow(), "wm-unsharp", input_size=SIZE),
            surgeon.fold(surgeon.apply(narrow(), "kap", input_size=SIZE)),
        ),
    ):
        folder = surgeon.save(model, tmp_path / str(number))
        assert json.loads((folder / "config.json").read_text())["architecture"]
        surgeon.load(folder)
    assert not [w for w in recwarn if "as its name makes it" in str(w.message)]


def test_arguments_that_are_not_remembered_are_asked_for(tmp_path):
    import timm

    model = timm.create_model("resnet18", num_classes=4, channels=[8] * 4)
    with pytest.warns(UserWarning, match="where arguments made it so, save it with model_args="):
        surgeon.save(model, tmp_path / "a")
    surgeon.save(model, tmp_path / "b", model_args={"channels": [8] * 4})
    assert surgeon.load(tmp_path / "b").layer1[0].conv1.weight.shape == (8, 64, 3, 3)
