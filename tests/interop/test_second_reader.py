"""What other code does to a cut network, from bug reports of other projects: each holds as for the stock network, or is refused."""

import copy
import pickle
import types

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError

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


@pytest.mark.parametrize("place", ["a", "b"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_module_may_be_exchanged_under_one_of_its_names(kind, place):
    stock = Shares(KINDS[kind]()).double().eval()
    cut = surgeon.apply(stock, "noise", input_size=SIZE).eval()
    x = images()
    assert torch.allclose(cut(x), stock(x))
    for m in (stock, cut):
        getattr(m, place)[2] = nn.Identity()
    if (kind, place) == ("convolution", "a"):  # the layer hangs to the convolution, which stands elsewhere now
        with pytest.raises(SurgeryError, match="stands at b.2 now"):
            cut(x)
        return
    assert torch.allclose(cut(x), stock(x))
    for model in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut)), surgeon.fold(cut)):
        assert torch.allclose(model(x), stock(x))


def test_a_shared_block_may_be_exchanged_under_one_of_its_names():
    stock = SharesBlock().double().eval()
    cut = surgeon.apply(stock, "noise", input_size=SIZE).eval()
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
