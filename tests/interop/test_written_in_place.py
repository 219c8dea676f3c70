"""Code that writes into tensors, the caller's images among them, does so after a cut as in the stock network."""

import copy
import operator

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

import surgeon
from surgeon.errors import SurgeryError

SIZE = (3, 8, 8)


def _both_read(net, x):
    y = net.relu(x)
    return x + y


def _activation_as_a_statement(net, x):
    net.relu(x)
    return x


def _by_its_name(net, x):
    net.relu(input=x)
    return x


def _function_as_a_statement(net, x):
    relu(x, inplace=True)
    return x


def _method_as_a_statement(net, x):
    x.add_(2.0)
    x.relu_()
    return x


def _operator_under_another_name(net, x):
    y = x
    x += 1.0
    return x * y


def _view_written(net, x):
    x.flatten(1).relu_()
    return x


def _view_written_by_an_operator(net, x):
    v = x.permute(0, 2, 3, 1)
    v += 1.0
    return x + v.permute(0, 3, 1, 2)


def _view_read(net, x):
    v = x.flatten(1)
    x.relu_()
    return x + v.view(x.shape)


def _view_by_an_activation(net, x):
    net.own(x.flatten(1))
    return x * 2


def _called_elsewhere_too(net, x):
    y = net.relu(x) - 0.1
    net.relu(y)
    return y + x


def _items(net, x):
    x[:, 0] *= 3.0
    x[:, 1] = 0.0
    return x


WAYS = (
    _both_read,
    _activation_as_a_statement,
    _by_its_name,
    _function_as_a_statement,
    _method_as_a_statement,
    _operator_under_another_name,
    _view_written,
    _view_written_by_an_operator,
    _view_read,
    _view_by_an_activation,
    _called_elsewhere_too,
    _items,
)


class Writing(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way = way
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu, self.own = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(self.conv2(self.way(self, self.bn1(self.conv1(x)))).mean((2, 3)))


class WritingItsInput(Writing):
    def forward(self, x):
        x.sub_(0.5).div_(2.0)
        return super().forward(x)


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, *SIZE, generator=generator), torch.arange(4)


def _net(kind, way):
    torch.manual_seed(0)
    return kind(way).double()


def _step(net, images, labels):
    net.train()
    loss = cross_entropy(net(images.double()), labels)
    loss.backward()
    return loss, [p.grad for p in net.parameters()]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_written_is_read_afterwards(way, given):
    stock = _net(Writing, way)
    cut = surgeon.apply(stock, "anl", input_size=SIZE)
    images = given[0].double()
    with torch.no_grad():
        torch.testing.assert_close(cut.eval()(images), stock.eval()(images), rtol=0, atol=0)
    torch.testing.assert_close(_step(cut, *given), _step(stock, *given), rtol=0, atol=0)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_folded_gives_the_same(way, given):
    cut = surgeon.apply(_net(Writing, way), "kap", input_size=SIZE).eval()
    images = given[0].double()
    with torch.no_grad():
        torch.testing.assert_close(surgeon.fold(cut)(images), cut(images), rtol=0, atol=1e-12)


@pytest.mark.parametrize("recipe", ["anl", "kap", "wm-unsharp", "smooth-init", "noise"])
def test_calibration_images_stay_as_they_are(recipe, given):
    images = given[0].double()
    stock, plain = _net(WritingItsInput, _both_read), _net(Writing, _both_read)
    cut = surgeon.apply(stock, recipe, calibration=images, input_size=SIZE)
    assert torch.equal(images, given[0].double())
    same = surgeon.apply(plain, recipe, calibration=(images - 0.5) / 2, input_size=SIZE)
    with torch.no_grad():
        torch.testing.assert_close(
            cut.eval()(images.clone()), same.eval()((images - 0.5) / 2), rtol=1e-9, atol=1e-9
        )


def test_an_input_that_is_written_behind_a_layer(given):
    stock = _net(WritingItsInput, _both_read)
    cut = surgeon.apply(stock, "input-noise", input_size=SIZE)
    images = given[0].double()
    with torch.no_grad():
        torch.testing.assert_close(cut.eval()(images.clone()), stock.eval()(images.clone()), rtol=0, atol=0)


def test_graphs_are_those_of_before_where_nothing_would_see_it(given):
    """An operator that writes where only its result is read stays one that does not."""

    def way(net, x):
        y = net.own(x)
        y += x.mean()
        return y

    cut = surgeon.apply(_net(Writing, way), "kap", input_size=SIZE)
    assert operator.iadd not in {n.target for t in (True, False) for n in cut.train(t).graph.nodes}
    assert [n.name for n in cut.eval_graph.nodes if n.target is operator.add] == ["add"]


class Listening(nn.Module):
    """Keeps the gradient of what it gives, as Grad-CAM does by hand."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.gradient = None

    def keep(self, gradient):
        self.gradient = gradient

    def forward(self, x):
        x = self.act(x)
        if x.requires_grad:
            x.register_hook(self.keep)
        return x


def test_code_that_asks_whether_gradients_are_wanted(given):
    stock = _net(Writing, _both_read)
    stock.way = lambda net, x: net.own(x)
    stock.own = Listening()
    cut = surgeon.apply(stock, "anl", input_size=SIZE)
    for net in (stock, cut):
        _step(net, *given)
    assert cut.own.gradient is not None
    assert torch.equal(cut.own.gradient, stock.own.gradient)
    assert copy.deepcopy(cut).own.gradient is not cut.own.gradient


def test_such_a_question_with_no_module_around_it_is_told():
    def way(net, x):
        return net.own(x) if x.requires_grad else x

    with pytest.raises(SurgeryError, match="requires_grad of a tensor"):
        surgeon.apply(_net(Writing, way), "anl", input_size=SIZE)
