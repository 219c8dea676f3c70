"""Layers under torch.func, forward mode and gradients by the batch, in float64 against what stands without them."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, jacfwd, jacrev, jvp, vmap

from surgeon.methods.controls.input_scale_layer import InputScale
from surgeon.methods.defective.module import DefectiveMask
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.weight_map.module import WeightMap2d

MADE = {
    "kap": lambda: KernelAveragePool(4, 3, dims=1, alpha=0.5, order=torch.tensor([2, 0, 3, 1])),
    "kmp": lambda: KernelAveragePool(4, 3, dims=1, pool="max"),
    "smoothing": lambda: WeightMap2d(4, 3, (5, 6), 3, padding=1),
    "unsharp": lambda: WeightMap2d(4, 3, (5, 6), 3, padding=1, mode="unsharp"),
    "wide": lambda: WeightMap2d(4, 3, (5, 6), (3, 2), padding=(2, 0), groups=1, mode="unsharp"),
    "strided": lambda: WeightMap2d(4, 4, (5, 6), 3, stride=2, padding=1, groups=2, mode="unsharp"),
    "defective": lambda: DefectiveMask(4, 5, 6, keep=0.5),
    "input scale": lambda: InputScale(4, 5, 6),
}


@pytest.fixture(params=MADE)
def layer(request):
    torch.manual_seed(0)
    made = MADE[request.param]().double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last])
def x(request):
    return torch.randn(2, 4, 5, 6, dtype=torch.float64).contiguous(memory_format=request.param)


def _jacobian(layer, x):
    """One backward pass for each number of the output."""
    z = x.clone().requires_grad_()
    out = layer(z).flatten()
    rows = [torch.autograd.grad(o, z, retain_graph=True)[0] for o in out]
    return torch.stack(rows).view(*layer(x).shape, *x.shape)


def test_forward_mode_is_the_backward_modes_transpose(layer, x):
    tangent = torch.randn_like(x)
    wanted = torch.tensordot(_jacobian(layer, x), tangent, 4)
    out, found = jvp(layer, (x,), (tangent,))
    torch.testing.assert_close((out, found), (layer(x), wanted))
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent)))
        torch.testing.assert_close((dual.primal, dual.tangent), (layer(x), wanted))


def test_whole_jacobians(layer, x):
    wanted = _jacobian(layer, x)
    torch.testing.assert_close(jacfwd(layer)(x), wanted)
    torch.testing.assert_close(jacrev(layer)(x), wanted)
    torch.testing.assert_close(torch.autograd.functional.jacobian(layer, x, vectorize=True), wanted)


def test_forward_over_reverse(layer, x):
    def cubed(z):
        return (layer(z) ** 3).sum()

    def slope(z):
        return torch.func.grad(cubed)(z)

    tangent, step = torch.randn_like(x), 1e-5
    wanted = (slope(x + step * tangent) - slope(x - step * tangent)) / (2 * step)
    torch.testing.assert_close(jvp(slope, (x,), (tangent,))[1], wanted, rtol=1e-5, atol=1e-6)


def test_several_networks_at_once(layer, x):
    twins = [layer, copy.deepcopy(layer)]
    for parameter in twins[1].parameters():
        nn.init.normal_(parameter)
    parameters, buffers = torch.func.stack_module_state(twins)

    def run(p, b):
        return functional_call(layer, (p, b), (x,))

    wanted = torch.stack([twin(x) for twin in twins])
    torch.testing.assert_close(vmap(run)(parameters, buffers), wanted)
    again = vmap(run)(parameters, buffers)  # what a layer keeps for its next call is its own
    torch.testing.assert_close((again, layer(x)), (wanted, wanted[0]))


def test_several_images_by_themselves(layer, x):
    torch.testing.assert_close(vmap(lambda z: layer(z[None])[0])(x), layer(x))
