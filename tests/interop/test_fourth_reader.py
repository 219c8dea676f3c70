"""What other code keeps on parameters, and how it calls layers: as the stock network has it."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.functional import cross_entropy, relu

import surgeon
from surgeon.errors import LayerError, SurgeryError
from surgeon.methods.weight_map.module import WeightMap2d
from surgeon.training import adversarial_noise

CUTS = ("anl", "defective", "kap", "noise", "smooth-init", "wm-unsharp")
SIZE = (3, 16, 16)


class Keywords(nn.Module):
    """Convolutions and norms, called by the names of their arguments."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = relu(self.bn1(input=self.conv1(input=x)))
        return self.fc(relu(self.bn2(input=self.conv2(input=x))).mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Keywords()


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, *SIZE, generator=generator), torch.arange(4)


@pytest.mark.parametrize("start", ["mean", "random", "anneal"])
def test_layers_are_called_by_the_names_of_their_arguments(net, given, start):
    cut = surgeon.apply(net, "wm-unsharp", input_size=SIZE, start=start).eval()
    maps = [m for m in cut.modules() if isinstance(m, WeightMap2d)]
    assert maps and torch.isfinite(cut(given[0])).all()


@pytest.mark.parametrize("recipe", ["wm-unsharp", "wm-smoothing", "wm-unsharp-all"])
@pytest.mark.parametrize("start", ["mean", "anneal"])
def test_what_takes_the_place_of_a_frozen_layer_is_frozen(net, recipe, start):
    cut = surgeon.apply(net.requires_grad_(False), recipe, input_size=SIZE, start=start)
    assert any(isinstance(m, WeightMap2d) for m in cut.modules())
    assert [n for n, p in cut.named_parameters() if p.requires_grad] == []


def test_a_frozen_weight_beside_a_bias_that_is_not(net):
    net.conv2.weight.requires_grad_(False)
    cut = surgeon.apply(net, "wm-unsharp", input_size=SIZE)
    assert not cut.conv2.maps.requires_grad and cut.conv2.bias.requires_grad
    back = surgeon.revert(cut)
    assert [n for n, p in back.named_parameters() if not p.requires_grad] == ["conv2.weight"]
    back = surgeon.revert(cut.requires_grad_(True))
    assert all(p.requires_grad for p in back.parameters())


@pytest.mark.parametrize("recipe", CUTS)
def test_attributes_of_parameters(net, recipe):
    for parameter in net.parameters():
        parameter._no_weight_decay = True
        parameter.lr_scale = [0.5]
    cut = surgeon.apply(net, recipe, input_size=SIZE)
    named = dict(net.named_parameters())
    for name, parameter in cut.named_parameters():
        if name in named or name == "conv2.maps":
            assert parameter._no_weight_decay and parameter.lr_scale == [0.5], name
    cut.fc.weight.lr_scale.append(1)
    assert net.fc.weight.lr_scale == [0.5]
    back = surgeon.revert(cut)
    assert all(p._no_weight_decay for p in back.parameters())


@pytest.mark.parametrize("recipe", CUTS)
def test_gradient_hooks_of_parameters(net, given, recipe):
    mask = torch.zeros(16, 16, 3, 3)
    mask[:, :8] = 1
    handle = net.conv2.weight.register_hook(lambda gradient: gradient * mask)
    net.fc.weight.register_hook(torch.zeros_like)
    cut = surgeon.apply(net, recipe, input_size=SIZE).train()
    handle.remove()
    x, y = given
    cross_entropy(cut(x), y).backward()
    assert not cut.fc.weight.grad.any() and cut.fc.bias.grad.any()
    if recipe.startswith("wm"):  # of another shape
        assert cut.conv2.maps.grad.any()
    else:
        assert cut.conv2.weight.grad[:, :8].any() and not cut.conv2.weight.grad[:, 8:].any()
    cross_entropy(net(x), y).backward()
    assert net.conv2.weight.grad[:, 8:].any()


def test_an_attribute_that_cannot_be_copied(net):
    net.fc.weight.lock = (i for i in ())
    net.fc.weight.owner = net.fc
    cut = surgeon.apply(net, "anl", input_size=SIZE)
    assert cut.fc.weight.lock is net.fc.weight.lock and cut.fc.weight.owner is cut.fc


def test_parameters_that_are_shared_are_left_alone(net):
    seen = []
    net.fc.weight.register_hook(lambda gradient: seen.append(1))
    cut = surgeon.apply(net, "anl", input_size=SIZE, copy=False)
    cut.fc(torch.ones(1, 16)).sum().backward()
    assert cut.fc.weight is net.fc.weight and seen == [1]
    assert copy.deepcopy(cut).fc.weight is not net.fc.weight


def test_weight_maps_in_a_file_of_torchs_own_exporters(net, given, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    cut = surgeon.apply(net, "wm-unsharp", input_size=SIZE).eval()
    wanted = cut(given[0])
    for dynamo in (False, True):
        path = tmp_path / f"{dynamo}.onnx"
        torch.onnx.export(cut, (given[0],), path, dynamo=dynamo, input_names=["x"], verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: given[0].numpy()})[0])
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


class Plain(nn.Sequential):
    """A Sequential of a class of one's own."""


@pytest.fixture(params=[nn.Sequential, Plain])
def row(request):
    torch.manual_seed(0)
    return request.param(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


@pytest.mark.parametrize("recipe", ["anl", "defective", "kap", "noise", "wm-unsharp"])
def test_a_sequential_by_index(row, given, recipe):
    x, _ = given
    cut = surgeon.apply(row, recipe, input_size=SIZE).eval()
    before = cut(x)
    assert len(cut) == len(row) == 8 and type(cut[-1]) is nn.Linear and type(cut[-2]) is nn.Flatten
    assert cut.append(nn.Softmax(1)) is cut and [n for n in cut._modules if n.isdigit()][-1] == "8"
    assert torch.allclose(cut(x), before.softmax(1))
    assert type(cut.pop(-1)) is nn.Softmax and torch.equal(cut(x), before)
    head = nn.Linear(16, 2)
    cut[-1] = head
    assert cut(x).shape == (4, 2) and cut[7] is head
    cut.extend([nn.ReLU(), nn.Tanh()])
    assert (cut(x) >= 0).all() and (cut(x) < 1).all() and len(cut) == 10
    del cut[-1]
    assert len(cut) == 9 and len(copy.deepcopy(cut)) == 9
    with pytest.raises(IndexError):
        cut[9]
    back = surgeon.revert(cut)
    assert type(back) is type(row) and len(back) == 9 and back[7].weight.shape == (2, 16)


def test_what_would_lose_or_rename_layers_of_a_sequential_is_refused(row, given):
    cut = surgeon.apply(row, "anl", input_size=SIZE).eval()
    before, names = cut(given[0]), list(cut._modules)
    for act in (
        lambda: cut[:-1],
        lambda: cut.pop(2),
        lambda: cut.__delitem__(0),
        lambda: cut.__delitem__(1),
        lambda: [cut[i] for i in range(len(cut))],
        lambda: cut.insert(0, nn.Identity()),
        lambda: list(cut),
    ):
        with pytest.raises(SurgeryError, match="runs code from before the surgery"):
            act()
    assert list(cut._modules) == names and torch.equal(cut(given[0]), before)


def test_the_first_child_of_a_sequential_behind_a_layer_at_the_input(row):
    cut = surgeon.apply(row, "input-noise", input_size=SIZE)
    assert cut.points[0].site == "" and len(cut) == 8 and type(cut[-1]) is nn.Linear
    with pytest.raises(SurgeryError, match="runs code from before the surgery"):
        cut[0]


class Fused(nn.Module):
    """Norm and activation in one, called by the name that timm gives its argument."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.bn1 = BatchNormAct2d(16)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(self.bn1(x=self.conv1(x)).mean((2, 3)))


def test_an_opened_norm_is_called_by_the_name_of_its_argument(given):
    torch.manual_seed(0)
    net = Fused().eval()
    cut = surgeon.apply(net, "anl", input_size=SIZE)
    assert any(p.opened for p in cut.points)
    assert torch.equal(cut(given[0]), net(given[0]))


def test_labels_of_a_head_that_came_after_the_cut(net, given):
    cut = surgeon.apply(net, "canl", input_size=SIZE, num_classes=4).train()
    cut.fc = nn.Linear(16, 8)
    with pytest.raises(LayerError, match=r"labels\[0\] is 4, .* revert, exchange it, and apply again"):
        with adversarial_noise(cut, given[0], given[1] + 4, cross_entropy):
            cut(given[0])
    again = surgeon.revert(cut)
    again = surgeon.apply(again, "canl", input_size=SIZE, num_classes=8).train()
    with adversarial_noise(again, given[0], given[1] + 4, cross_entropy):
        cross_entropy(again(given[0]), given[1] + 4).backward()
    assert again.fc.weight.grad.any()


@pytest.mark.parametrize("recipe", ["anl", "defective", "kap", "wm-unsharp"])
def test_weights_that_are_fetched_for_each_call(net, given, recipe):
    accelerate = pytest.importorskip("accelerate")
    cut = surgeon.apply(net, recipe, input_size=SIZE).eval()
    wanted = cut(given[0]).detach()
    cut = accelerate.cpu_offload(cut, execution_device=torch.device("cpu"))
    assert all(p.is_meta for p in cut.parameters())
    with torch.no_grad():
        assert torch.allclose(cut(given[0]), wanted, atol=1e-6)


class Scaled(nn.Module):
    """A block that reads a parameter of its own, as ConvNeXt's."""

    def __init__(self):
        super().__init__()
        self.conv, self.gamma = nn.Conv2d(16, 16, 3, padding=1), nn.Parameter(torch.ones(16, 1, 1))

    def forward(self, x):
        return x + self.gamma * self.conv(x)


@pytest.mark.parametrize("how", ["accelerate", "by hand"])
def test_a_forward_that_was_put_on_a_block_is_told(given, how):
    stock = nn.Sequential(
        nn.Conv2d(3, 16, 3), Scaled(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    )
    cut = surgeon.apply(stock, "kap", input_size=SIZE).eval()
    wanted, block = cut(given[0]), cut.get_submodule("1")
    if how == "accelerate":
        hooks = pytest.importorskip("accelerate.hooks")
        hooks.add_hook_to_module(block, hooks.AlignDevicesHook(execution_device="cpu", offload=True))
        origin = "new_forward of accelerate.hooks"
    else:
        block.forward = lambda x: 2 * x
        origin = "<lambda> of .*test_fourth_reader"
    with pytest.raises(
        SurgeryError,
        match=rf"^1: its forward is {origin} that was put on the object, not Scaled's own, .*: take it off \(as "
        r"del module.forward; accelerate's by remove_hook_from_module.*surgeon.fold or surgeon.revert gives$",
    ):
        cut(given[0])
    if how == "accelerate":
        hooks.remove_hook_from_module(cut, recurse=True)
    else:
        del block.forward
    assert torch.equal(cut(given[0]), wanted)
