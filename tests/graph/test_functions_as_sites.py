"""Activations that code calls as functions are sites: cut, replaced, taken out again, and never mistaken."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import surgeon
from surgeon.errors import FoldError
from surgeon.graph.places.function_names import _CLASSES, module_of
from surgeon.testing import check_operation
from tests.graph.between import Bent, plug

SIZE = (3, 16, 16)
CALLS = ["gelu()", "first.relu()", "first.relu_2()", "twice.relu()", "twice.relu_2()", "leaky_relu()"]
TAPPED = {}
"""Call → how: what the reference does at a call. Empty, the networks below are stock."""


def call(name, function, x):
    how = TAPPED.get(name)
    if how is None:
        return function(x)
    if how == "replace":
        found = Bent()(x)
    else:
        found = function(Bent()(x).clone()) if how == "before" else Bent()(function(x))
    return found


class Owner(nn.Module):
    """Calls relu twice, the first time in place on a value that is read again; and has a module called relu."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        a = self.conv(x)
        b = call(f"{self.name}.relu()", lambda v: F.relu(v, inplace=True), a)
        if TAPPED:
            a = b  # they are one memory
        return call(f"{self.name}.relu_2()", lambda v: v.relu(), self.conv(self.relu(b - 0.3)) + a)


class Net(nn.Module):
    """Functions in owners, one of them called twice, in training alone, and in the network's own code."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.first, self.twice = Owner("first"), Owner("twice")
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = call("gelu()", lambda v: F.gelu(v, approximate="tanh"), self.stem(x))
        x = self.twice(self.twice(self.first(x)))
        if self.training:
            x = torch.tanh(x)
        return self.fc(call("leaky_relu()", lambda v: F.leaky_relu(v, 0.2), x - 0.5).mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().double().eval()


@pytest.fixture
def images():
    return torch.randn(2, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def known(monkeypatch):
    plug(monkeypatch)
    TAPPED.clear()


def test_calls_are_named_by_the_module_whose_code_makes_them():
    sites = {s.name: s for s in surgeon.sites(Net(), input_size=SIZE) if s.kind == "activation"}
    assert list(sites) == [
        "gelu()",
        "first.relu()",
        "first.relu",
        "first.relu_2()",
        "twice.relu()",
        "twice.relu",
        "twice.relu_2()",
        "tanh()",
        "leaky_relu()",
    ]
    assert [sites[n].cls for n in ("gelu()", "tanh()", "leaky_relu()")] == ["GELU", "Tanh", "LeakyReLU"]
    assert sites["tanh()"].modes == ("train",) and sites["gelu()"].modes == ("train", "eval")
    assert sites["twice.relu_2()"].calls == 2 and sites["twice.relu_2()"].call_shapes == ((4, 14, 14),) * 2
    one = sites["first.relu()"]
    assert (one.function, one.channels, one.channel_axis, one.in_shape) == (True, 4, 0, (4, 14, 14))
    assert not sites["first.relu"].function


def test_torchvisions_networks_have_their_activations():
    with torch.device("meta"):
        google = torchvision.models.googlenet(weights=None, init_weights=False)
        inception = torchvision.models.inception_v3(weights=None, init_weights=False)
        dense = torchvision.models.densenet121(weights=None)
    for network in (google, inception):
        sites = surgeon.sites(network, input_size=(3, 299, 299))
        convs = {s.name.removesuffix(".conv") for s in sites if s.name.endswith(".conv")}
        acts = {s.name.removesuffix(".relu()"): s for s in sites if s.function}
        assert convs <= {*acts} and {n for n in acts if n not in convs} <= {"aux1", "aux2"}
        aux = next(s for n, s in acts.items() if n.startswith(("aux1", "AuxLogits")))
        assert aux.modes == ("train",) and all(s.channels == s.out_shape[0] for s in acts.values())
    assert [s.name for s in surgeon.sites(dense, input_size=(3, 32, 32)) if s.function] == ["relu()"]


@pytest.mark.parametrize("how", ["after", "before", "replace"])
@pytest.mark.parametrize("name", CALLS)
def test_one_call_is_edited_and_no_other(net, images, name, how):
    cut = surgeon.apply(net, {"op": "between", "how": how, "select": {"include": name}}, input_size=SIZE)
    stock = net(images)
    TAPPED[name] = how
    wanted = net(images)
    TAPPED.clear()
    assert not torch.allclose(wanted, stock, rtol=1e-6)
    assert torch.allclose(cut(images), wanted, rtol=1e-12, atol=1e-12)
    for twin in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        assert torch.equal(twin(images), cut(images))
    back = surgeon.revert(cut)
    assert type(back) is Net and torch.equal(back(images), stock)
    assert [n for n, _ in back.named_modules()] == [n for n, _ in net.named_modules()]
    with pytest.raises(FoldError):
        surgeon.fold(cut)


@pytest.mark.parametrize("how", ["after", "before", "replace"])
def test_all_calls_are_edited_at_once(net, images, how):
    cut = surgeon.apply(
        net,
        {"op": "between", "how": how, "select": {"exclude": ["first.relu", "twice.relu"]}},
        input_size=SIZE,
    )
    TAPPED.update(dict.fromkeys(CALLS, how))
    wanted = net(images)
    assert torch.allclose(cut(images), wanted, rtol=1e-12, atol=1e-12)
    assert {"tanh()", *CALLS} == {e.site for e in cut.surgery.edits}
    cut.train()
    assert torch.isfinite(cut(images)).all()


def test_one_call_of_an_owner_that_is_called_twice(net, images):
    """An edit of one call alone, by its number."""
    plan = surgeon.plan(net, {"op": "between", "select": {"include": "twice.relu_2()"}}, input_size=SIZE)
    second = plan.model_copy(update={"edits": (plan.edits[0].model_copy(update={"call": 1}),)})
    x = F.gelu(net.stem(images), approximate="tanh")
    x = Bent()(net.twice(net.twice(net.first(x))))
    wanted = net.fc(F.leaky_relu(x - 0.5, 0.2).mean((2, 3)))
    assert torch.allclose(surgeon.apply(net, second)(images), wanted, rtol=1e-12, atol=1e-12)


class Uneven(nn.Module):
    """Calls relu once in evaluation and twice in training: which one is the first of both cannot be told."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = self.conv(x)
        if self.training:
            x = F.relu(x) - 0.1
        return F.silu(F.relu(x)).mean((2, 3))


def test_calls_that_cannot_be_told_apart_are_no_sites():
    assert [s.name for s in surgeon.sites(Uneven(), input_size=SIZE)] == ["input", "conv", "silu()"]


class Running(nn.Sequential):
    """Runs its children, whatever they are."""

    def forward(self, x):
        return F.relu(super().forward(x))


def test_no_layer_hangs_where_it_would_be_run_by_itself():
    model = Running(nn.Conv2d(3, 4, 3), nn.Flatten())
    assert [s.name for s in surgeon.sites(model, input_size=SIZE)] == ["input", "0"]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "meansparse", "start": "identity"},
        {"op": "kwta", "share": 0.4},
        {"op": "smooth-activation"},
        {"op": "smooth-activation", "beta": 1.0},
        {"op": "identity", "at": "activation"},
        {"op": "between", "how": "before"},
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [Net, lambda: torchvision.models.DenseNet(8, (2, 2), 8, num_classes=5)])
def test_operations_on_activations_work_there(operation, make):
    torch.manual_seed(0)
    model = make()
    cut = check_operation(operation, model, input_size=(3, 32, 32))
    assert any(e.site.endswith("()") for e in cut.surgery.edits)
    assert list(cut._modules)[-1] == list(model._modules)[-1]


def test_smooth_googlenet_goes_through_a_folder_and_does_not_fold(tmp_path):
    torch.manual_seed(0)
    model = surgeon.create_model("torchvision/googlenet", num_classes=5).eval()
    cut = surgeon.apply(model, {"op": "smooth-activation", "beta": 1.0}, input_size=(3, 64, 64))
    assert sum(e.site.endswith(".relu()") for e in cut.surgery.edits) >= 57 and not cut.surgery.folds
    x = torch.randn(2, 3, 64, 64)
    surgeon.save(cut, tmp_path / "cut")
    assert torch.equal(surgeon.load(tmp_path / "cut").eval()(x), cut(x))
    with pytest.raises(FoldError, match="code calls a function there"):
        surgeon.fold(cut)
    back = surgeon.revert(surgeon.load(tmp_path / "cut")).eval()
    assert torch.equal(back(x), model(x)) and list(back.state_dict()) == list(model.state_dict())


def test_statistics_are_those_of_the_stock_network_at_the_call(net, images):
    cut = surgeon.apply(
        net,
        {"op": "meansparse", "alpha": 0.3, "select": {"include": ["gelu()", "first.relu_2()"]}},
        input_size=SIZE,
        calibration=images[:1].repeat(16, 1, 1, 1),
    )
    given = net.stem(images[:1])
    layer = cut.get_submodule("gelu().meansparse")
    assert torch.allclose(layer.mean.double(), given.mean((0, 2, 3)), rtol=1e-5, atol=1e-7)
    x = F.gelu(given, approximate="tanh")
    a = F.relu(net.first.conv(x))
    given = net.first.conv(F.relu(a - 0.3)) + a
    layer = cut.get_submodule("first.relu_2().meansparse")
    assert torch.allclose(layer.mean.double(), given.mean((0, 2, 3)), rtol=1e-5, atol=1e-7)


def test_noise_at_functions_folds_to_the_stock_network(net, images):
    cut = surgeon.apply(net, {"op": "identity", "at": "activation"}, input_size=SIZE)
    folded = surgeon.fold(cut)
    assert type(folded) is Net and torch.equal(folded(images), net(images))
    assert not any(n.endswith("()") for n, _ in folded.named_modules())


def test_an_exchanged_owner_gets_its_layers_again(net, images):
    cut = surgeon.apply(net, {"op": "between", "select": {"include": "first.relu_2()"}}, input_size=SIZE)
    other = copy.deepcopy(net.first)
    nn.init.constant_(other.conv.weight, 0.01)
    cut.first = other
    net.first = other = copy.deepcopy(other)
    for key in [k for k in other._modules if k.endswith("()")]:
        del other._modules[key]
    TAPPED["first.relu_2()"] = "after"
    wanted = net(images)
    TAPPED.clear()
    assert torch.allclose(cut(images), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(_CLASSES))
def test_each_function_is_the_same_as_its_module(name):
    """Traced, and by place, keyword and method."""
    places = {"threshold": (0.1, 0.7), "softmax": (1,), "log_softmax": (1,), "glu": (1,)}.get(name, ())
    function = getattr(F, name)

    def code(x):
        return function(x, *places)

    graph = torch.fx.symbolic_trace(code).graph
    node = next(n for n in graph.nodes if n.op in ("call_function", "call_method"))
    module = module_of(node)
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(x), function(x, *places)) and type(module).__module__.startswith("torch.nn")


@pytest.mark.parametrize(
    "code",
    [
        lambda x: F.softmax(x, dim=1, dtype=torch.float64),
        lambda x: x.sigmoid_(),
        lambda x: F.leaky_relu(x, x.mean()),
        lambda x: torch.add(x, 1),
    ],
)
def test_calls_that_no_module_makes_are_no_sites(code):
    graph = torch.fx.symbolic_trace(code).graph
    assert all(module_of(n) is None for n in graph.nodes)
