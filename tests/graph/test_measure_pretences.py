"""Sizes on meta tensors, and on fake ones where the code mixes in tensors of its own."""

import pytest
import timm
import torch
from torch import nn

from surgeon.graph.measuring import measure as file


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_both_ways_see_the_same(name):
    model = timm.create_model(name).eval()
    meta, fakes = (
        file._measured(model, (3, 64, 64), set(), False, way) for way in (file.on_meta, file.on_fakes)
    )
    assert meta == fakes and not meta.error
    assert all(p.device.type == "cpu" for p in (*model.parameters(), *model.buffers()))


def test_code_with_tensors_of_its_own_is_run_on_fakes():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.shift = nn.Conv2d(3, 4, 3), [torch.ones(4, 1, 1)]

        def forward(self, x):
            return self.conv(x) + self.shift[0]

    model = Own()
    assert file._measured(model, (3, 8, 8), set(), False, file.on_meta).error
    seen = file.measure(model, (3, 8, 8))
    assert not seen.error and seen.outputs["conv"] == (4, 6, 6) and seen.flops > 0
