"""Three architectures, as they are and cut by each of the four methods, for libraries that take any network.

Each file here is of one library, and skips where it is not installed (extra `clients`). A test of a cut
network does what the test of the stock network does, so that a failure of both is the library's and a failure
of one is surgeon's. `page.py` makes the table of docs/interop.md from what came out.
"""

import copy
import functools

import pytest
import timm
import torch
import torchvision
from torch import nn

import surgeon

SIZE, CLASSES = (3, 32, 32), 5
ARCHITECTURES = ("test_resnet", "test_efficientnet", "shufflenet_v2_x0_5")
RECIPES = ("kap", "anl", "wm-unsharp", "defective")
STOCK = "stock"


@functools.cache
def _stock(name):
    """A network as after a training: no norm weights at zero, statistics of images."""
    torch.manual_seed(0)
    if name in torchvision.models.list_models():
        model = torchvision.models.get_model(name, num_classes=CLASSES)
    else:
        model = timm.create_model(name, num_classes=CLASSES)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    model.train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(16, *SIZE))
    return model.eval()


@functools.cache
def _network(architecture, recipe):
    stock = _stock(architecture)
    return stock if recipe == STOCK else surgeon.apply(stock, recipe, input_size=SIZE, seed=1).eval()


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    """The name of each architecture."""
    return request.param


@pytest.fixture(params=(STOCK, *RECIPES))
def recipe(request):
    """`stock`, and the name of each of RECIPES."""
    return request.param


@pytest.fixture
def network(architecture, recipe):
    """Each architecture, as it is and cut by each of RECIPES, in evaluation mode."""
    return copy.deepcopy(_network(architecture, recipe))


@pytest.fixture
def stock(architecture):
    """The network before any surgery."""
    return copy.deepcopy(_stock(architecture))


@pytest.fixture(scope="session")
def images():
    """Eight images with pixels in [0, 1], (8, 3, 32, 32)."""
    return torch.rand(8, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def labels():
    """A class for each of `images`."""
    return torch.randint(0, CLASSES, (8,), generator=torch.Generator().manual_seed(1))
