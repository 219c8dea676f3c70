"""The weights a convolution really uses, and convolutions with other ones."""

import pytest
import torch
from timm.layers import ScaledStdConv2d
from torch import nn

from surgeon.errors import LayerError
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.kap.prenorm import PreNormKernelAveragePool
from surgeon.tensors.convolution import effective_weight, seeded, with_channels, with_weight

CONVS = [
    nn.Conv2d(3, 8, 3, stride=2, padding=1),
    nn.Conv1d(3, 8, 3, bias=False),
    nn.Conv3d(3, 8, 3, padding=1),
    nn.ConvTranspose2d(3, 8, 2, stride=2),
    ScaledStdConv2d(3, 8, 3, padding=1),
]


@pytest.mark.parametrize("conv", CONVS, ids=lambda c: type(c).__name__)
def test_a_convolution_with_its_own_effective_weight_is_the_same(conv):
    torch.manual_seed(0)
    if hasattr(conv, "gain"):
        nn.init.uniform_(conv.gain, 0.5, 2)
    conv = conv.double()
    bias = None if conv.bias is None else conv.bias.detach()
    new = with_weight(conv, effective_weight(conv), bias)
    x = torch.randn(2, 3, *[7] * len(conv.kernel_size), dtype=torch.float64)
    assert torch.allclose(new(x), conv(x), rtol=1e-5, atol=1e-7)
    assert new.weight is not conv.weight and type(new) is type(conv)


def test_the_effective_weight_of_a_scaled_convolution_is_the_one_it_convolves_with():
    conv = ScaledStdConv2d(3, 8, 3, bias=False).double()
    nn.init.uniform_(conv.gain, 0.5, 2)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert torch.allclose(nn.functional.conv2d(x, effective_weight(conv), padding=conv.padding), conv(x))


def test_more_channels_are_drawn_from_the_generator_alone():
    conv = nn.Conv2d(4, 8, 3, groups=2)
    state = torch.get_rng_state()
    one, two = (with_channels(conv, 24, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.weight, two.weight) and one(torch.randn(1, 4, 5, 5)).shape[1] == 24
    with pytest.raises(LayerError, match="25 channels cannot be divided into the convolution's 2 groups"):
        with_channels(conv, 25, torch.Generator())


def test_grouped_transposed_convolutions_are_refused():
    with pytest.raises(LayerError, match="groups=2; only groups=1"):
        effective_weight(nn.ConvTranspose2d(4, 4, 2, groups=2))


def test_a_stream_of_its_own():
    state = torch.get_rng_state()
    with seeded(torch.Generator().manual_seed(1)):
        a = torch.rand(2)
    with seeded(torch.Generator().manual_seed(1)):
        assert torch.equal(torch.rand(2), a)
    assert torch.equal(torch.get_rng_state(), state)


def test_pooling_behind_a_norm():
    torch.manual_seed(0)
    layer = PreNormKernelAveragePool(KernelAveragePool(16, 3), 16).double()
    x = torch.randn(4, 16, 5, 5, dtype=torch.float64)
    for _ in range(3):
        layer(x)
    layer.eval()
    scale, shift = layer.affine()
    by_hand = torch.einsum(
        "oi,nihw->nohw", layer.matrix(), x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
    )
    assert torch.allclose(layer(x), by_hand)
    result = layer.load_state_dict({})
    assert not result.missing_keys
    with pytest.raises(LayerError, match="spatial_dims=4"):
        PreNormKernelAveragePool(KernelAveragePool(4, 1), 4, 4)
