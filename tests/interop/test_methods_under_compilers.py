"""Methods beside `forward`, whose graphs are made in their first call, under compilers and with hooks put on since."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryWarning


class Block(nn.Sequential):
    """A container with a name of its own."""


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Block(nn.Conv2d(3, 9, 3, 2, padding=1), nn.ReLU())
        self.layer = Block(nn.Conv2d(9, 16, 3, 2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.rate = 0.0
        self.fc = nn.Linear(16, 5)

    def forward_features(self, x):
        return self.layer(self.stem(x))

    def forward_head(self, x):
        return self.fc(nn.functional.dropout(x.mean((2, 3)), self.rate, self.training))

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class Features(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return self.backbone.forward_features(x).mean((2, 3))


X = torch.randn(2, 3, 16, 16)


@pytest.fixture(params=["kap", "noise"])
def model(request):
    return surgeon.apply(Net(), request.param, input_size=(3, 16, 16)).eval()


def test_a_method_is_compiled_before_it_was_called(model):
    torch._dynamo.reset()
    made = torch.compile(model.forward_features, backend="eager")(X)
    assert torch.allclose(made, model.forward_features(X), rtol=1e-4, atol=1e-5)


def test_a_wrapper_that_calls_a_method_is_compiled_and_then_stays(model):
    torch._dynamo.reset()
    wrapper = Features(model)
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph

    compiled = torch.compile(wrapper, backend=backend)
    first = compiled(X)
    number = len(made)
    assert torch.allclose(first, wrapper(X), rtol=1e-4, atol=1e-5) and torch.equal(compiled(X), first)
    compiled(X)
    assert len(made) <= number + 1  # the code of surgeon that makes graphs is not compiled


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10),
    reason="torch 2.9 compiles no itertools.starmap, which each call of a method takes",
)
def test_a_whole_graph_is_refused_in_words_until_the_method_was_called(model):
    torch._dynamo.reset()
    wrapper = Features(model)
    with pytest.raises(Exception, match="call it once before torch.compile"):
        torch.compile(wrapper, backend="eager", fullgraph=True)(X)
    wrapper(X)
    torch._dynamo.reset()
    whole = torch.compile(wrapper, backend="eager", fullgraph=True)
    assert torch.allclose(whole(X), wrapper(X), rtol=1e-4, atol=1e-5)


def test_a_trace_has_nothing_of_the_graph_that_it_makes(model):
    wrapper = Features(model).eval()
    first = torch.jit.trace(wrapper, X)  # which is checked by a second one
    torch.testing.assert_close(first(X), wrapper(X))  # a trace pools activations, and not weights
    assert str(first.graph).count("GetAttr") == str(torch.jit.trace(wrapper, X).graph).count("GetAttr")


def doubled(module, args, out):
    return out * 2


@pytest.mark.filterwarnings("ignore::surgeon.errors.SurgeryWarning")
def test_hooks_on_a_block_after_the_cut_are_in_no_graph(model):
    wanted = model(X)
    handle = model.layer.register_forward_hook(doubled)
    before = model.layer.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    features = model.forward_features(X)
    assert torch.equal(model.forward_head(features), wanted) and torch.equal(model(X), wanted)
    model.rate = 0.5  # graphs are made anew
    assert torch.equal(model(X), wanted) and torch.equal(model.forward_features(X), features)
    own = [h for h in model.layer._forward_hooks.values() if not getattr(h, "of_surgeon", False)]
    assert own == [doubled]
    handle.remove()
    before.remove()
    assert torch.equal(model(X), wanted) and torch.equal(model.forward_features(X), features)


def test_graphs_agree_where_no_layer_is_in_the_hooked_block():
    model = surgeon.apply(Net(), "kap", input_size=(3, 16, 16), select=dict(include="stem.**")).eval()
    wanted = model(X)
    model.layer.register_forward_hook(doubled)
    with pytest.warns(SurgeryWarning, match="layer after the surgery are not called"):
        again = model(X)
    assert torch.equal(again, wanted)
    assert torch.equal(model.forward_head(model.forward_features(X)), wanted)


def test_hooks_from_before_the_cut_stay_in_all_graphs():
    stock = Net().eval()
    stock.layer.register_forward_hook(doubled)
    model = surgeon.apply(stock, "noise", input_size=(3, 16, 16)).eval()
    assert torch.equal(model(X), stock(X))
    assert torch.equal(model.forward_features(X), stock.forward_features(X))
    model.rate = 0.5
    assert torch.equal(model(X), stock(X))
