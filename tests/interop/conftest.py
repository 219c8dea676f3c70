"""One small network, cut by several recipes, for code that knows nothing of surgeon."""

import copy
import functools

import pytest
import timm
import torch
from torch import nn

import surgeon

SIZE = (3, 32, 32)
TINY = (3, 8, 8)
"""Size of the images that `tiny` of the tests' own takes, as the fixture `images` has them."""
RECIPES = ("kap", "anl", "wm-unsharp", "defective")


@functools.cache
def _stock():
    """timm's smallest ResNet as after a training: no norm weights at zero, statistics of images."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    for _ in range(5):
        model.train()(torch.randn(16, *SIZE))
    return model.eval()


@functools.cache
def _cut(recipe):
    return surgeon.apply(_stock(), recipe, input_size=SIZE, seed=1).eval()


@pytest.fixture
def stock():
    """The network before any surgery."""
    return copy.deepcopy(_stock())


@pytest.fixture(params=RECIPES)
def model(request):
    """The network cut by each of RECIPES, in evaluation mode."""
    return copy.deepcopy(_cut(request.param))


@pytest.fixture
def cut():
    """A function: recipe → the network cut by it, in evaluation mode."""
    return lambda recipe: copy.deepcopy(_cut(recipe))


@pytest.fixture(scope="session")
def batch():
    """Eight normalised images and their classes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, *SIZE, generator=generator), torch.randint(0, 4, (8,), generator=generator)


@pytest.fixture
def tiny_cut(tiny):
    """A function: recipe → a network of two convolutions cut by it, in evaluation mode; for what takes long."""
    return lambda recipe: surgeon.apply(tiny, recipe, input_size=TINY, seed=1).eval()
