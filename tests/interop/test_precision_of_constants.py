"""Tensors that code makes on the way have the precision that it gives them, as in the stock network."""

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon

SIZE = (3, 8, 8)


class Made(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 4)
        self.register_buffer("scale", torch.full((16,), 3.0))
        self.table = {"mean": torch.full((3, 1, 1), 0.1)}

    def forward(self, x):
        x = (x - self.table["mean"]).to(self.conv.weight.dtype)
        x = self.bn(self.conv(x)).mean((2, 3)) * (self.scale + 1).sqrt()[:16]  # of the network: follows it
        return self.fc(x) + torch.linspace(0, 1, 4)


def _through(dtypes):
    def change(net):
        for dtype in dtypes:
            net = net.to(dtype)
        return net

    return change


WAYS = {
    "bfloat16": _through([torch.bfloat16]),
    "float64": _through([torch.float64]),
    "through bfloat16": _through([torch.bfloat16, torch.float64]),
    "through the meta device": lambda net: net.to(torch.bfloat16).to("meta").to_empty(device="cpu"),
    "a copy": lambda net: copy.deepcopy(net.to(torch.bfloat16)).to(torch.float32),
    "a pickle": lambda net: pickle.loads(pickle.dumps(net.to(torch.bfloat16))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_have_the_precision_and_values_of_the_stock_networks(way, dtype):
    torch.manual_seed(0)
    stock = Made()
    values = {k: v.clone() for k, v in stock.state_dict().items()}
    cut = surgeon.apply(stock, "anl", input_size=SIZE)
    nets = [WAYS[way](net).eval() for net in (stock, cut)]
    for net in nets:
        net.load_state_dict(values)
    images = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        expected, found = (net(images) for net in nets)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
