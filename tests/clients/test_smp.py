"""segmentation_models_pytorch: the encoder or the whole network is cut."""

import copy

import pytest
import torch

import surgeon
from tests.clients.conftest import walked

smp = pytest.importorskip("segmentation_models_pytorch")


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "efficientnet-b0"])
def test_segmentation(recipe, images, encoder):
    """`smp.Unet` as a whole: the sizes of the stock network's outputs, and a step of training"""
    torch.manual_seed(0)
    stock = smp.Unet(encoder, encoder_weights=None, classes=2).eval()
    network = stock if recipe == "stock" else surgeon.apply(stock, recipe, input_size=(3, 32, 32))
    with torch.no_grad():
        assert network.eval()(images).shape == stock(images).shape
    network.train()(images).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    if recipe == "defective":
        return
    again = copy.deepcopy(network).eval()
    with torch.no_grad():
        assert torch.equal(again(images), network.eval()(images))


@pytest.mark.parametrize("name", ["Unet", "FPN", "DeepLabV3Plus", "Segformer"])
def test_methods(name, images, tmp_path):
    """Each method on four networks: cut, trained, folded, saved, loaded and taken back."""
    torch.manual_seed(0)
    stock = getattr(smp, name)("resnet18", encoder_weights=None, classes=2)
    for recipe in ("kap", "meansparse", "kwta", "squeeze-excite", "parametric-noise", "anl"):
        made = walked(stock, recipe, images, tmp_path / recipe, size=(3, 32, 32))
        encoder = [e for e in made.edits if e.site.startswith("encoder.")]
        assert len(encoder) >= 9, recipe  # in each block, and at the stem
