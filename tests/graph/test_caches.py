"""Tables that code computes once and throws away when the mode is set: cut as if the network had not been run."""

import pytest
import torch
from torch import nn

import surgeon

SIZE = (3, 8, 8)


class Biased(nn.Module):
    """As LeViT's attention: what is added is looked up once, and again after the mode was set."""

    def __init__(self):
        super().__init__()
        self.biases, self.cache = nn.Parameter(torch.randn(8, 8)), {}
        self.register_buffer("places", torch.randperm(8), persistent=False)
        self.act = nn.ReLU()  # a module without children would be called whole

    def train(self, mode=True):
        self.cache = {}
        return super().train(mode)

    def looked_up(self, device):
        if self.training:
            return self.biases[:, self.places]
        if str(device) not in self.cache:
            self.cache[str(device)] = self.biases[:, self.places]
        return self.cache[str(device)]

    def forward(self, x):
        return self.act(x + self.looked_up(x.device))


class Kept(Biased):
    """Another module throws its table away."""

    def train(self, mode=True):
        return nn.Module.train(self, mode)


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.stem, self.biased = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)), kind()
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.biased(self.stem(x)).mean((1, 2)))


class Clearing(Net):
    def train(self, mode=True):
        self.biased.cache = {}
        return super().train(mode)


@pytest.fixture(params=[(Net, Biased), (Clearing, Kept)], ids=["own-train", "root-train"])
def ran(request):
    """A network that was run, one norm of which is in another mode."""
    torch.manual_seed(0)
    network = request.param[0](request.param[1]).eval()
    network.stem[1].train()
    network(torch.randn(2, *SIZE))
    assert network.biased.cache
    return network


def test_it_is_traced_before_any_call(ran):
    x, table = torch.randn(2, *SIZE), ran.biased.cache
    cut = surgeon.apply(ran, "noise", input_size=SIZE)
    assert not cut.biased.cache and cut.stem[1].training and not cut.training
    assert ran.biased.cache is table and table  # the original keeps its own
    cut.eval()
    traced = torch.jit.trace(cut, x)
    torch.testing.assert_close(traced(x), ran.eval()(x))


def test_no_graph_is_made_anew_and_weights_act(ran):
    x = torch.randn(2, *SIZE)
    cut, graph = surgeon.apply(ran, "noise", input_size=SIZE), None
    for network in (cut, ran):
        network.eval()
        graph = graph or cut.eval_graph
        network(x)
        network.train()
        with torch.no_grad():
            network.biased.biases += 1
        network.eval()
    assert torch.equal(cut(x), ran(x)) and cut.eval_graph is graph
