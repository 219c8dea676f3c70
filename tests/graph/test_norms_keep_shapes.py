"""The short way through norms gives what the norms give: sizes, and how they lie in memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import surgeon
from surgeon.graph.measuring.norm_shapes import NormsKeepShapes


def laid():
    x = torch.randn(2, 6, 4, 4)
    return {
        "contiguous": x,
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "turned": x.transpose(2, 3),
        "tokens": torch.randn(2, 5, 6, 4).permute(0, 2, 1, 3),
    }


@pytest.mark.parametrize("name", list(laid()))
def test_outputs_lie_as_the_norms_own(name):
    x = laid()[name]
    mean, var = torch.zeros(6), torch.ones(6)
    for run in (lambda x, m, v: F.batch_norm(x, m, v), lambda x, m, v: F.layer_norm(x, x.shape[-1:])):
        wanted = run(x, mean, var)
        with NormsKeepShapes():
            found = run(x.to("meta"), mean.to("meta"), var.to("meta"))
        assert (found.shape, found.stride()) == (wanted.shape, wanted.stride())


def test_what_does_not_fit_is_still_refused():
    with NormsKeepShapes(), pytest.raises(RuntimeError):
        F.layer_norm(torch.randn(2, 4, device="meta"), (5,))
    with NormsKeepShapes(), pytest.raises(RuntimeError):
        F.batch_norm(
            torch.randn(2, 4, device="meta"), torch.zeros(3, device="meta"), torch.ones(3, device="meta")
        )


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.LayerNorm(16),
            nn.Linear(16 * 64, 4),
        )

    def forward(self, x):
        x = self.norm(self.conv(x).flatten(2).transpose(1, 2))
        return self.head(x.view(x.shape[0], -1))


def test_a_view_behind_a_layer_norm_is_planned():
    assert surgeon.plan(Tokens(), "kap", input_size=(3, 8, 8)).measured
