"""Zeros by a mask, bit for bit as torch.where puts them."""

import pytest
import torch

from surgeon.methods.defective.zeroed import zeroed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_as_where_also_of_what_is_not_finite(dtype, layout):
    x = torch.randn(3, 4, 5, 6).to(dtype).contiguous(memory_format=layout)
    x[0, 0, 0] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 0.0, -1.0])
    mask = torch.rand(1, 4, 5, 6) < 0.5
    found, wanted = zeroed(x, mask), torch.where(mask, x, 0.0)
    assert found.dtype == dtype
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found.nan_to_num(), wanted.nan_to_num())
    assert not zeroed(x, torch.zeros_like(mask)).any()


def test_gradients_twice_and_under_vmap():
    mask = torch.rand(4, 5) < 0.5
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: zeroed(z, mask), x)
    assert torch.autograd.gradgradcheck(lambda z: zeroed(z, mask) ** 3, x)
    batched = torch.func.vmap(lambda z: zeroed(z, mask))(x.detach())
    assert torch.equal(batched, torch.where(mask, x.detach(), 0.0))
    single = torch.func.grad(lambda z: zeroed(z, mask).sum())(x[0].detach())
    assert torch.equal(single, mask.double())


def test_a_view_that_is_not_contiguous():
    x = torch.randn(6, 5, 4).transpose(0, 2)[:, ::2]
    mask = torch.rand(4, 3, 6) < 0.5
    assert torch.equal(zeroed(x, mask), torch.where(mask, x, 0.0))
