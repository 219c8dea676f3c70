"""Three architectures, as they are and cut by each of the four methods, for libraries that take any network.

Each file here is of one library, and skips where it is not installed (extra `clients`). A test of a cut
network does what the test of the stock network does, so that a failure of both is the library's and a failure
of one is surgeon's. `page.py` makes the table of docs/interop.md from what came out.
"""

import copy
import functools
import warnings

import pytest
import timm
import torch
import torchvision
from torch import nn

import surgeon
from surgeon.errors import CalibrationWarning, FoldError
from surgeon.methods.needs import needs_data
from surgeon.models.logits import first_tensor
from surgeon.recipe import load_recipe
from surgeon.verification import relative

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


def walked(stock, recipe, images, folder, *, size, settings=()):
    """A network of another library through all that is done with one: cut, trained for a step, folded or refused,
    saved, loaded and taken back. Returns the plan that was carried out."""
    images = images.double()
    stock = copy.deepcopy(stock).double().eval()
    loaded = load_recipe(recipe, settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # of so few images
        made = surgeon.plan(stock, loaded, input_size=size)
        cut = surgeon.apply(stock, made, calibration=images if needs_data(made) else None)
    loss = first_tensor(cut.train()(images)).square().mean()
    loss.backward()
    step = torch.optim.SGD(cut.parameters(), lr=0.01)
    before = {k: v.clone() for k, v in cut.state_dict().items()}
    step.step()
    assert any(not torch.equal(v, before[k]) for k, v in cut.state_dict().items())
    cut.eval()
    with torch.no_grad():
        wanted = _said(cut, images)
        if made.folds:
            folded = surgeon.fold(cut)
            assert type(folded) is type(stock) and relative(_said(folded, images), wanted) < 1e-6
        else:
            with pytest.raises(FoldError, match="do not fold"):
                surgeon.fold(cut)
        surgeon.save(cut, folder, overwrite=True)
        again = surgeon.load(folder, model=copy.deepcopy(stock)).eval()
        assert torch.equal(_said(again, images), wanted)
    assert type(surgeon.revert(cut)) is type(stock)
    return made


def _said(network, images):
    torch.manual_seed(0)  # for layers that are always random
    return first_tensor(network(images))
