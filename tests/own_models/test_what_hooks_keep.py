"""A hook of the network's author keeps what a module gave, and the code around it reads that."""

import pytest
import torch
from torch import nn

import surgeon

SIZE = (3, 16, 16)
KEPT = {}


class Reading(nn.Module):
    """Depth networks take features of their backbone so."""

    def __init__(self):
        super().__init__()
        self.back = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3))
        self.back[0].register_forward_hook(lambda module, given, out: KEPT.__setitem__("first", out))
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        self.back(x)
        return self.head(KEPT["first"])


class Computing(Reading):
    """What it reads is in no graph itself, only what it makes of it."""

    def forward(self, x):
        self.back(x)
        return self.head(KEPT["first"] * torch.tensor([2.0]))


@pytest.mark.parametrize("kind", [Reading, Computing])
@pytest.mark.parametrize("ran_before", [False, True])
@pytest.mark.parametrize("size", [SIZE, None])
def test_what_an_earlier_run_left_is_no_constant(kind, ran_before, size):
    KEPT.clear()
    stock = kind().eval()
    if ran_before:
        with torch.no_grad():
            stock(torch.randn(2, *SIZE))
    cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=size).eval()
    assert "back.0" in {e.site for e in cut.surgery.edits}
    for seed in (1, 2):
        x = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed))
        wanted = stock(x)
        KEPT.clear()
        torch.testing.assert_close(cut(x), wanted)


def test_constants_that_the_code_makes_or_a_file_holds_stay():
    table = torch.rand(16, 1, 1)

    class Scaled(Reading):
        def forward(self, x):
            return self.head(
                self.back(x) * torch.tensor(0.5) + torch.zeros(16, 1, 1) + torch.arange(3.0).mean()
            )

    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)

        def forward(self, x):
            return self.conv(x) * table

    for stock in (Scaled().eval(), Looking().eval()):
        cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=SIZE).eval()
        assert cut.surgery.refused == {}
        x = torch.randn(2, *SIZE)
        torch.testing.assert_close(cut(x), stock(x))
