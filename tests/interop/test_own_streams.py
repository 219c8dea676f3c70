"""Networks that hold a torch.Generator, and networks of which parts are compiled in their code."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu

import surgeon

SIZE = (3, 8, 8)


class Drawing(nn.Module):
    """Adds noise from a stream of its own."""

    def __init__(self, seed):
        super().__init__()
        self.stream = torch.Generator().manual_seed(seed)

    def forward(self, x):
        return x + 0.1 * torch.randn(x.shape, generator=self.stream) if self.training else x


class Net(Drawing):
    def __init__(self):
        super().__init__(5)
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(16)
        self.drawing = Drawing(6)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = self.bn(self.conv(super().forward(x)))
        return self.fc(self.drawing(x).mean((2, 3)))


@torch.compile(backend="eager")
def _compiled(x):
    return gelu(x)


class Compiled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 4)

    @torch.compile(backend="eager")
    def head(self, x):
        return self.fc(x.mean((2, 3)))

    def forward(self, x):
        return self.head(_compiled(self.bn(self.conv(x))))


class Whole(Compiled):
    @torch.compile(backend="eager")
    def forward(self, x):
        return self.fc(gelu(self.bn(self.conv(x))).mean((2, 3)))


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, *SIZE, generator=generator), torch.arange(4)


def _net(kind):
    torch.manual_seed(0)
    return kind()


def _losses(net, images, labels):
    optimizer = torch.optim.SGD(net.train().parameters(), 0.1)
    losses = []
    torch.manual_seed(1)  # noise of the recipe's
    for _ in range(3):
        optimizer.zero_grad()
        losses.append(cross_entropy(net(images), labels))
        losses[-1].backward()
        optimizer.step()
    return torch.stack(losses)


@pytest.mark.parametrize("recipe", ["anl", "kap", "defective-channel"])
def test_a_network_draws_from_its_own_stream(given, recipe):
    stock = _net(Net)
    states = [m.stream.get_state() for m in (stock, stock.drawing)]
    cut = surgeon.apply(stock, recipe, input_size=SIZE)
    for m, state in zip((stock, stock.drawing), states, strict=True):
        assert torch.equal(m.stream.get_state(), state)
    other = pickle.loads(pickle.dumps(cut))
    again = copy.deepcopy(cut)
    first = _losses(cut, *given)
    assert torch.equal(first, _losses(other, *given))
    assert torch.equal(first, _losses(again, *given))
    if recipe == "anl":
        assert torch.equal(first, _losses(stock, *given))


def test_a_stream_that_takes_another_place(given):
    stock = _net(Net)
    cut = surgeon.apply(stock, "anl", input_size=SIZE)
    for net in (stock, cut):
        net.drawing.stream = torch.Generator().manual_seed(9)
    assert torch.equal(_losses(cut, *given), _losses(stock, *given))


@pytest.mark.parametrize("kind", [Compiled, Whole])
@pytest.mark.parametrize("recipe", ["anl", "kap"])
def test_parts_that_are_compiled_in_the_code(given, kind, recipe):
    stock = _net(kind)
    cut = surgeon.apply(stock, recipe, input_size=SIZE)
    if recipe == "anl":
        torch.testing.assert_close(_losses(cut, *given), _losses(stock, *given))
    else:
        folded = surgeon.fold(cut.double().eval())
        with torch.no_grad():
            images = given[0].double()
            torch.testing.assert_close(folded(images), cut(images), rtol=0, atol=1e-12)
    assert torch._dynamo.config.error_on_nested_fx_trace  # as it was
