"""What the stock network's `forward` says of the types of its arguments, which code makes schemas of."""

from __future__ import annotations

import copy
import inspect
import typing

import pytest
import torch
from torch import nn

import surgeon

SIZE = (3, 12, 12)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 16, 3), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor, scale: float | None = None) -> torch.Tensor:
        y = self.fc(torch.relu(self.conv(x)).mean((2, 3)))
        return y if scale is None else y * scale


class Plain(Net):
    def forward(self, x, scale=None):
        return super().forward(x, scale)


@pytest.mark.parametrize("recipe", ["noise", "kap", "wm-unsharp-all"])
def test_annotations_are_the_stock_networks(recipe):
    cut = surgeon.apply(Net().eval(), recipe, input_size=SIZE).eval()
    for network in (cut, copy.deepcopy(cut)):
        assert typing.get_type_hints(network.forward) == typing.get_type_hints(Net.forward)
        signature = inspect.signature(network.forward)
        assert signature.parameters["x"].annotation is torch.Tensor is signature.return_annotation
    images = torch.randn(2, *SIZE)
    for traced in (
        torch.fx.symbolic_trace(cut),
        torch.jit.trace(cut, images),
        torch.export.export(cut, (images,)).module(),
    ):
        assert traced(images).shape == (2, 4)
    assert not surgeon.apply(Plain().eval(), "noise", input_size=SIZE).forward.__annotations__
