"""Pooling a convolution's weights instead of its outputs: the same function, the same gradients."""

import pytest
import torch
from torch import nn

from surgeon.methods.kap import module as kap_file
from surgeon.methods.kap.module import KernelAveragePool

ORDER = torch.randperm(16, generator=torch.Generator().manual_seed(1))
CONVS = {
    "plain": lambda: nn.Conv2d(3, 16, 3, padding=1),
    "no bias, stride, dilation": lambda: nn.Conv2d(3, 16, 3, stride=2, dilation=2, bias=False),
    "same": lambda: nn.Conv2d(3, 16, (3, 1), padding="same"),
    "valid": lambda: nn.Conv2d(3, 16, 3, padding="valid"),
    "reflect": lambda: nn.Conv2d(3, 16, 3, padding=1, padding_mode="reflect"),
    "1-D": lambda: nn.Conv1d(3, 16, 3),
    "3-D": lambda: nn.Conv3d(3, 16, 2),
}
LAYERS = {
    "kap": lambda: KernelAveragePool(16, 3),
    "line": lambda: KernelAveragePool(16, 5, dims=1),
    "blended, in an order": lambda: KernelAveragePool(16, 3, alpha=0.3, order=ORDER),
    "fewer channels": lambda: KernelAveragePool(16, 3, stride=2),
}


@pytest.fixture
def pooled(monkeypatch):
    """The shapes of what was pooled."""
    shapes = []
    real = kap_file.kernel_average_pool

    def spy(x, *args, **kwargs):
        shapes.append(tuple(x.shape))
        return real(x, *args, **kwargs)

    monkeypatch.setattr(kap_file, "kernel_average_pool", spy)
    return shapes


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS)
def test_same_outputs_and_gradients(conv, layer, pooled):
    torch.manual_seed(0)
    conv, layer = conv().double(), layer().double()
    x = torch.randn(6, 3, *[9] * (conv.weight.dim() - 2), dtype=torch.float64, requires_grad=True)
    both = []
    for call in (lambda: layer(conv(x)), lambda: layer.after(conv, x)):
        out = call()
        found = torch.autograd.grad(out.sin().sum(), [x, *conv.parameters()])
        both.append((out, *found))
    for wanted, got in zip(*both, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    assert pooled[0][0] == 6
    assert {shape[0] for shape in pooled[1:]} == {1}, "the weights are fewer here"


def test_the_activations_where_they_are_fewer(pooled):
    conv, layer, x = nn.Conv2d(3, 16, 3), KernelAveragePool(16, 3), torch.randn(2, 3, 5, 5)
    assert torch.equal(layer.after(conv, x), layer(conv(x)))
    assert {shape[0] for shape in pooled} == {2}


class Own(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize(
    ("conv", "layer"),
    [
        (nn.Conv2d(4, 16, 3, groups=4), KernelAveragePool(16, 3)),
        (Own(4, 16, 3), KernelAveragePool(16, 3)),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 16, 3)), KernelAveragePool(16, 3)),
        (nn.ConvTranspose2d(4, 16, 3), KernelAveragePool(16, 3)),
        (nn.Conv2d(4, 16, 3), KernelAveragePool(16, 3, pool="max")),
        (nn.Sequential(nn.Conv2d(4, 16, 3)), KernelAveragePool(16, 3)),
    ],
    ids=["groups", "own class", "parametrised", "transposed", "maximum", "no convolution"],
)
def test_by_itself_where_weights_cannot_be_exchanged(conv, layer, pooled):
    x = torch.randn(8, 4, 9, 9)
    assert torch.equal(layer.after(conv, x), layer(conv(x)))
    assert {shape[0] for shape in pooled} == {8}


def test_noise_and_frozen_weights():
    torch.manual_seed(0)
    conv, layer = nn.Conv2d(3, 16, 3).requires_grad_(False), KernelAveragePool(16, 3, sigma=0.2)
    x = torch.randn(64, 3, 9, 9, requires_grad=True)
    out = layer.after(conv, x)
    layer.sigma = 0.0
    noise = (out - layer.after(conv, x)).detach()
    assert abs(float(noise.std()) - 0.2) < 0.002
    assert abs(float(noise.mean())) < 0.002
    out.sum().backward()
    assert x.grad is not None
    assert conv.weight.grad is None
