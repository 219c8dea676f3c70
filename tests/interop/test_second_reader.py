"""What other code does to a cut network, from bug reports of other projects: each holds as for the stock
network, or is refused."""

import copy
import pickle
import types

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ModelError, SurgeryError
from tests.neutral import EVERYWHERE, neutral

SIZE = (3, 12, 12)


def images():
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Shares(nn.Module):
    """Two blocks that share one module, of any kind, at their end."""

    def __init__(self, shared):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), shared)
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), shared)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.b(self.a(x)).mean((2, 3)))


class SharesBlock(nn.Module):
    """One block under two names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3)
        self.a = self.b = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

    def forward(self, x):
        return self.b(self.a(self.stem(x))).mean((2, 3))


KINDS = {
    "activation": nn.ReLU,
    "norm": lambda: nn.GroupNorm(2, 8),
    "convolution": lambda: nn.Conv2d(8, 8, 1),
    "prelu": nn.PReLU,
}


@pytest.mark.parametrize("method", ["noise", "kap"])
@pytest.mark.parametrize("place", ["a", "b"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_module_may_be_exchanged_under_one_of_its_names(kind, place, method):
    stock = Shares(KINDS[kind]()).double().eval()
    cut = neutral(stock, method, SIZE)
    x = images()
    assert torch.allclose(cut(x), stock(x))
    for m in (stock, cut):
        getattr(m, place)[2] = nn.Identity()
    if (kind, place) == (
        "convolution",
        "a",
    ):  # the layer hangs to the convolution, which stands elsewhere now
        with pytest.raises(SurgeryError, match="stands at b.2 now"):
            cut(x)
        return
    assert torch.allclose(cut(x), stock(x))
    for model in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut)), surgeon.fold(cut)):
        assert torch.allclose(model(x), stock(x))


@pytest.mark.parametrize("method", EVERYWHERE)
def test_a_shared_block_may_be_exchanged_under_one_of_its_names(method):
    stock = SharesBlock().double().eval()
    cut = neutral(stock, method, SIZE)
    x = images()
    assert torch.allclose(cut(x), stock(x))
    for m in (stock, cut):
        m.b = nn.Identity()
    assert torch.allclose(cut(x), stock(x))


def test_hooks_on_a_shared_module_are_called_once_for_each_call():
    cut = surgeon.apply(Shares(nn.ReLU()).double().eval(), "noise", input_size=SIZE).eval()
    calls = []
    cut.a[2].register_forward_hook(lambda *_: calls.append(1))
    cut(images())
    assert len(calls) == 2
    cut.b[2] = nn.Identity()
    cut(images())
    assert len(calls) == 3
    cut.b[2] = cut.a[2]
    cut(images())
    assert len(calls) == 5


class Net(nn.Module):
    """A network that every recipe cuts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(16, 5)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        return self.fc(self.relu(self.bn2(self.conv2(x))).mean((2, 3)))


def bound_to_itself(model):
    model.forward = model.forward


def unwrapped(model):
    """What accelerate's `prepare` and `unwrap_model` leave."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(
        reset_partial_state=True
    )  # what other tests have asked for
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    kept = accelerator.unwrap_model(accelerator.prepare(model), keep_fp32_wrapper=False)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    assert kept is model and "forward" in model.__dict__


def kept_elsewhere(model):
    """A forward that is kept and put back by other code."""
    model.forward_before = model.forward
    model.forward = types.MethodType(lambda self, x: self.forward_before(x), model)
    model.forward = model.__dict__.pop("forward_before")


def read(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("bind", [bound_to_itself, unwrapped, kept_elsewhere])
@pytest.mark.parametrize("recipe", ["kap", "defective"])
def test_a_forward_bound_to_the_network_itself_adds_nothing(recipe, bind):
    stock = Net().double().eval()
    cut = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    x = images()
    wanted = cut(x)
    assert not torch.allclose(wanted, stock(x))
    bind(cut)
    for way in (lambda m: m, copy.copy, copy.deepcopy, read, lambda m: read(read(m))):
        assert torch.allclose(way(cut)(x), wanted)
    assert torch.allclose(surgeon.revert(cut)(x), stock(x))
    if recipe == "kap":
        assert torch.allclose(surgeon.fold(cut)(x), wanted)


def test_a_method_that_is_kept_on_the_network_is_read_back_as_that_of_the_network_that_is_read():
    cut = surgeon.apply(Net().double().eval(), "defective", input_size=SIZE).eval()
    x = images()
    wanted = cut(x)
    cut.kept = cut.forward
    assert torch.allclose(read(cut).kept(x), wanted)


def test_a_forward_bound_to_the_network_goes_when_graphs_are_made_anew():
    cut = surgeon.apply(Net().double().eval(), "noise", input_size=SIZE).eval()
    cut.forward = cut.forward
    cut.retrace()
    assert "forward" not in cut.__dict__


@pytest.mark.parametrize("recipe", ["kap", "anl", "defective"])
def test_a_function_among_the_modules_is_called_as_the_stock_network_calls_it(recipe):
    """As pytorch-grad-cam puts the function of GuidedBackpropReLU there."""
    stock = Net().double().eval()
    cut = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    wanted = surgeon.apply(exchanged(stock, Sigmoid()), recipe, input_size=SIZE).eval()(images())
    cut._modules["relu"] = torch.sigmoid
    for _ in range(2):
        assert torch.allclose(cut(images()), wanted)
    assert torch.allclose(copy.deepcopy(cut)(images()), wanted)
    with pytest.raises(ModelError, match="relu of this Net is not an nn.Module"):
        pickle.dumps(cut)


class Sigmoid(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x)


def exchanged(model, relu):
    model = copy.deepcopy(model)
    model.relu = relu
    return model


def test_a_function_behind_a_site_is_no_layer_to_be_joined():
    cut = surgeon.apply(Net().double().eval(), "kap", input_size=SIZE).eval()
    before = cut(images())
    cut._modules["bn1"] = torch.tanh
    assert not torch.allclose(cut(images()), before)


@pytest.mark.parametrize("place", ["b", "b.0"])
def test_a_function_in_place_of_a_container_or_a_site_is_refused(place):
    cut = surgeon.apply(Shares(nn.ReLU()).double().eval(), "noise", input_size=SIZE).eval()
    owner, _, name = place.rpartition(".")
    cut.get_submodule(owner)._modules[name] = torch.tanh
    with pytest.raises(SurgeryError, match=f"at {place} stands builtin_function_or_method"):
        cut(images())
