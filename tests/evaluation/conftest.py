"""Networks that read the digits, and the digits that they are evaluated on."""

import pytest
import torch
from torch import nn

from surgeon.data import Images, digits
from surgeon.evaluation import Normalized
from tests.sensitivity import Wide, in_float64


@pytest.fixture(scope="session")
def reader():
    """A small network that reads the digits, and 96 of them. Tests must leave it alone."""
    pytest.importorskip("torchattacks")
    pytest.importorskip("scipy")
    from surgeon.recipe import Training
    from surgeon.training import fit

    torch.manual_seed(0)
    sets = digits(8)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )
    with in_float64(model):
        fit(model, sets["train"], None, Training(epochs=6, batch_size=64, lr=0.05))
    return model.eval(), Images(sets["test"].x[:96], sets["test"].y[:96])


@pytest.fixture
def trained(reader):
    """The reader of pixels, in evaluation mode, and its digits."""
    model, images = reader
    return Normalized(model.eval()), images


@pytest.fixture
def exact(reader):
    """The reader as a model whose verdicts rounding does not touch, and its digits."""
    model, images = reader
    return Normalized(Wide(model)).eval(), images


@pytest.fixture(scope="session")
def hardened():
    """A network trained adversarially at Linf 0.1 (fast AT)."""
    pytest.importorskip("torchattacks")
    from surgeon.recipe import Adversary, Training
    from surgeon.training import fit

    torch.manual_seed(0)
    sets = digits(8)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 16, 10),
    )
    adversary = Adversary(method="pgd", eps=0.1, steps=5)
    with in_float64(model):
        fit(model, sets["train"], None, Training(epochs=10, batch_size=64, lr=0.05, adversary=adversary))
    return Normalized(model.eval())


@pytest.fixture
def small_cifar(monkeypatch):
    """CIFAR-C of 20 test images: two of each of ten classes."""
    from published_pixels import IMAGES

    from surgeon.data.shifted import cifar_c

    monkeypatch.setattr(cifar_c, "IMAGES", IMAGES)
