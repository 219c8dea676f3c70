"""One image without a batch, which torch's convolutions take."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import LayerError
from surgeon.methods.kap import KernelAveragePool

SIZE = (3, 16, 16)


def net():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 4, 1),
    ).to(torch.float64)


RECIPES = {
    "kap": {"op": "kap", "start": "naive"},
    "max": {"op": "kap", "pool": "max", "start": "naive"},
    "in an order": {"op": "kap", "start": "lstsq", "order": "fitted"},
    "line": {"op": "kap", "dims": 1, "start": "naive"},
    "blended": {"op": "kap", "start": "anneal"},
    "strided": {"op": "kap", "stride": 3, "kernel_size": 3, "start": "naive"},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_one_image_without_a_batch_is_that_image(recipe):
    torch.manual_seed(0)
    cut = surgeon.apply(net(), recipe, input_size=SIZE, trained=True).eval()
    for module in cut.modules():
        if hasattr(module, "set_alpha") and recipe.get("start") == "anneal":
            module.set_alpha(0.5)
    x = torch.randn(SIZE, dtype=torch.float64)  # as many rows as the layers have channels
    torch.testing.assert_close(cut(x), cut(x[None])[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(cut(x[:, :9]), cut(x[None, :, :9])[0], rtol=1e-10, atol=1e-12)


def test_noise_and_gradients_of_one_image():
    torch.manual_seed(0)
    cut = surgeon.apply(net(), {"op": "kap", "sigma": 0.5, "input_sigma": 0}, input_size=SIZE).train()
    x = torch.randn(SIZE, dtype=torch.float64)
    found = []
    for images in (x, x[None]):
        torch.manual_seed(1)
        out = cut(images)
        found.append(
            (out.reshape(out.shape[-3:]), torch.autograd.grad(out.sin().sum(), list(cut.parameters())))
        )
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_one_signal_of_one_axis():
    layer = KernelAveragePool(16, 3, spatial_dims=1).double()
    conv = nn.Conv1d(3, 16, 3, padding=1).double()
    x = torch.randn(3, 16, dtype=torch.float64)
    for call in (lambda v: layer(conv(v)), lambda v: layer.after(conv, v)):
        torch.testing.assert_close(call(x), call(x[None])[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("recipe", ["wm-unsharp", "defective"])
def test_layers_of_a_size_say_so(recipe):
    cut = surgeon.apply(net().float(), recipe, input_size=SIZE).eval()
    with pytest.raises(LayerError, match=r"expected \(N, "):
        cut(torch.randn(SIZE))
