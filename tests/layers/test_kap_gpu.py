"""Kernel average pooling's kernel for a GPU, against its matrix in float64."""

import pytest
import torch
from torch import nn

from surgeon.layers import KernelAveragePool
from surgeon.layers.kap_gpu import pooled, takes
from surgeon.layers.sheet import pooling_matrix, resolve_sheet, window
from tests.layers.kernels import DEVICE, DTYPES, TOLERANCE, needs_gpu, needs_kernels, off

# shape with channels second, memory format, kernel, dims
CASES = [
    ((2, 12, 3, 5), torch.contiguous_format, 3, 2),
    ((2, 12, 3, 5), torch.channels_last, 3, 2),
    ((3, 35, 40, 10), torch.channels_last, 5, 2),
    ((2, 7, 4), torch.contiguous_format, 3, 2),
    ((2, 20), torch.contiguous_format, 5, 1),
    ((1, 64, 9, 3, 3), torch.contiguous_format, 3, 2),
    ((2, 16, 1, 1), torch.channels_last, 3, 2),
    ((2, 1, 4, 4), torch.contiguous_format, 3, 2),
]


def drawn(shape, memory, dtype):
    return torch.randn(shape).to(DEVICE, dtype).contiguous(memory_format=memory)


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_means_and_gradients_are_those_of_the_matrix(case, dtype):
    shape, memory, kernel, dims = case
    x = drawn(shape, memory, dtype).requires_grad_()
    sheet = resolve_sheet(shape[1], dims)
    out = pooled(x, sheet, window(sheet, kernel))
    matrix = pooling_matrix(shape[1], kernel, 1, dims).to(DEVICE)
    assert out.stride() == x.stride() and out.dtype == dtype
    assert off(out, torch.einsum("dc,nc...->nd...", matrix, x.double())) < TOLERANCE[dtype]
    gradient = torch.randn_like(out)
    (found,) = torch.autograd.grad(out, x, gradient)
    assert off(found, torch.einsum("dc,nd...->nc...", matrix, gradient.double())) < TOLERANCE[dtype]


@needs_kernels
def test_gradients_have_gradients():
    x = drawn((2, 12, 3), torch.contiguous_format, torch.float32).requires_grad_()
    sheet = resolve_sheet(12, 2)
    (g,) = torch.autograd.grad(pooled(x, sheet, (3, 3)).pow(3).sum(), x, create_graph=True)
    (found,) = torch.autograd.grad(g.square().sum(), x)
    y = x.detach().double().requires_grad_()
    matrix = pooling_matrix(12, 3, 1, 2).to(DEVICE)
    out = torch.einsum("dc,ncp->ndp", matrix, y)
    (g,) = torch.autograd.grad(out.pow(3).sum(), y, create_graph=True)
    assert off(found, torch.autograd.grad(g.square().sum(), y)[0]) < 1e-5


@needs_kernels
def test_a_gradient_may_lie_otherwise():
    x = drawn((2, 12, 3, 5), torch.channels_last, torch.float32).requires_grad_()
    gradient = torch.randn(2, 12, 5, 3, device=DEVICE).transpose(2, 3)
    sheet = resolve_sheet(12, 2)
    (found,) = torch.autograd.grad(pooled(x, sheet, (3, 3)), x, gradient)
    (plain,) = torch.autograd.grad(pooled(x, sheet, (3, 3)), x, gradient.contiguous())
    assert torch.equal(found, plain)


@needs_gpu
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_layer_behind_a_convolution_is_that_on_a_cpu(memory):
    conv, pool = nn.Conv2d(6, 20, 3, padding=1), KernelAveragePool(20, 3)
    x = torch.randn(4, 6, 9, 9)
    assert takes(x.cuda().contiguous(memory_format=memory))
    expected = pool.after(conv, x)
    expected.square().sum().backward()
    wanted = [p.grad.clone() for p in conv.parameters()]
    conv.zero_grad()
    conv.cuda().to(memory_format=memory)
    pool.cuda()
    found = pool.after(conv, x.cuda().contiguous(memory_format=memory))
    found.square().sum().backward()
    assert off(found.cpu(), expected) < 1e-5
    assert all(off(p.grad.cpu(), w) < 1e-4 for p, w in zip(conv.parameters(), wanted, strict=True))


@needs_gpu
def test_what_lies_otherwise_goes_torchs_way():
    x = torch.randn(4, 12, 6, 6, device="cuda")
    assert not takes(x[:, :, ::2]) and not takes(x.permute(0, 2, 1, 3)) and not takes(x.double())
    layer = KernelAveragePool(12, 3)
    assert off(layer(x[:, :, ::2]), layer(x[:, :, ::2].contiguous())) < 1e-6
