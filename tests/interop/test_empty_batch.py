"""A batch of no images: gradients of zeros, as the stock network has them."""

import pytest
import torch
from torch import nn

import surgeon

RECIPES = (
    "kap",
    "kmp",
    "wm-unsharp",
    "wm-smoothing",
    "defective",
    "anl",
    "noise",
    "gaussian",
    "lat",
    "wm-input-scale",
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_gradients_of_no_images_are_zeros(recipe):
    stock = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3, padding=1)
    ).eval()
    cut = surgeon.apply(stock, recipe, input_size=(3, 8, 8))
    for network in (stock, cut):
        x = torch.zeros(0, 3, 8, 8, requires_grad=True)
        out = network(x)
        assert out.shape == (0, 4, 8, 8)
        out.sum().backward()
        assert x.grad is not None
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and not parameter.grad.any(), name
