"""captum: attributions, on the images and on a layer."""

import pytest
import torch
from torch import nn

pytest.importorskip("captum")

from captum.attr import IntegratedGradients, LayerGradCam, Saliency


def test_attributions(network, images, labels):
    """`Saliency`, `IntegratedGradients`, `LayerGradCam` on a convolution"""
    network, x = network.double(), images.double()
    asked = x.clone().requires_grad_(True)
    score = network(asked).gather(1, labels[:, None]).sum()
    (wanted,) = torch.autograd.grad(score, asked)
    assert torch.allclose(Saliency(network).attribute(x, target=labels), wanted.abs(), rtol=1e-9, atol=1e-12)
    few, many = (
        IntegratedGradients(network).attribute(x, target=labels, n_steps=n, return_convergence_delta=True)[1]
        for n in (4, 128)
    )
    assert many.abs().mean() < few.abs().mean(), "finer steps come nearer to the difference of the scores"
    layer = [m for m in network.modules() if isinstance(m, nn.Conv2d)][-1]
    seen = []
    with torch.no_grad(), layer.register_forward_hook(lambda m, i, o: seen.append(o.shape)):
        network(x)
    if seen:
        assert LayerGradCam(network, layer).attribute(x, target=labels).shape[2:] == seen[0][2:]
