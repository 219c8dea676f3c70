"""`torch.utils.mkldnn.to_mkldnn`, which exchanges convolutions, linear layers and norms in place."""

import copy
import warnings

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.mkldnn import to_mkldnn

import surgeon
from surgeon.errors import SurgeryError

SIZE = (3, 32, 32)
pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@pytest.fixture(scope="module")
def stock():
    """torchvision's, whose own code runs on tensors of that format: timm's asks for sizes in ways that it has not."""
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=4).eval()


def cut(stock, recipe):
    more = {"calibration": torch.randn(8, *SIZE)} if recipe == "meansparse" else {}
    return surgeon.apply(stock, recipe, input_size=SIZE, seed=1, **more).eval()


def demand_equal(network, images):
    with torch.no_grad():
        expected = network(images)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which to_mkldnn is made of
            found = to_mkldnn(copy.deepcopy(network))(images.to_mkldnn()).to_dense()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "recipe",
    [
        "anl",
        "defective",
        "noise",
        "kap",
        "wm-unsharp",
        "meansparse",
        "parametric-noise",
        "kwta",
        "input-noise",
    ],
)
def test_a_network_with_layers_is_refused_before_anything_is_exchanged(stock, images, recipe):
    network = cut(stock, recipe)
    kinds = [type(m) for m in network.modules()]
    with pytest.raises(SurgeryError, match=r"to_mkldnn .* surgeon\.fold\(model\), or surgeon\.revert"):
        to_mkldnn(network)
    with pytest.raises(SurgeryError, match="to_mkldnn"):
        to_mkldnn(nn.ModuleDict({"body": network}))
    assert [type(m) for m in network.modules()] == kinds


@pytest.mark.parametrize("recipe", ["anl", "kap", "noise", "input-noise"])
def test_what_is_folded_is_converted(stock, images, recipe):
    demand_equal(surgeon.fold(cut(stock, recipe)), images)


def test_so_is_what_is_reverted_and_a_network_of_stock_modules(stock, images):
    demand_equal(surgeon.revert(cut(stock, "wm-unsharp")), images)
    demand_equal(cut(stock, "small-image"), images)
