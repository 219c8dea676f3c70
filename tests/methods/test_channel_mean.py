"""DropChannel-Mean: its equation from data, folding, and what an attacker puts in its place."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.methods.channel_mean import ConstantChannels
from tests.reference import channel_mean as reference

SIZE = (3, 8, 8)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("bias", [True, False])
def test_the_cut_layer_is_the_equation_and_folds(share, bias):
    torch.manual_seed(0)
    stock = nn.Sequential(nn.Conv2d(3, 20, 3, bias=bias), nn.BatchNorm2d(20), nn.ReLU()).double().eval()
    nn.init.normal_(stock[1].running_mean)
    images = torch.rand(7, *SIZE, dtype=torch.float64)  # too few to hold some out
    cut = surgeon.apply(stock, "channel-mean", input_size=SIZE, calibration=images, share=share).eval()
    wanted = reference.channel_mean(stock[0](images).detach(), share)
    layer = cut.get_submodule("0.channel_mean")
    assert int(layer.chosen.sum()) == round(share * 20)
    torch.testing.assert_close(layer(stock[0](images)), wanted, atol=1e-7, rtol=0)
    folded = surgeon.fold(cut)
    torch.testing.assert_close(folded(images), cut(images), atol=1e-7, rtol=0)
    assert [*folded.state_dict()] == [*stock.state_dict()]


def test_no_gradient_passes_what_is_constant_and_the_attackers_layer_passes_all():
    layer = ConstantChannels(2, 1)
    layer.set_statistics(torch.ones(2), torch.tensor([1.0, 2.0]))
    x = torch.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0]]
