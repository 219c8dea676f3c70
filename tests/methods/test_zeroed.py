"""Zeros by a mask, bit for bit as torch.where puts them."""

import copy

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import nn

import surgeon
from surgeon.methods.defective.module import DefectiveMask
from surgeon.methods.defective.zeroed import zeroed, zeroed_in_place


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_in_place_gives_the_same_and_its_gradients(layout):
    mask = torch.rand(1, 4, 5, 6) < 0.5
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    made = x * 1.0
    pointer = made.data_ptr()
    given = zeroed_in_place(made, mask)
    assert given.data_ptr() == pointer and torch.equal(given, torch.where(mask, x, 0.0))
    assert torch.autograd.gradcheck(lambda z: zeroed_in_place(z * 1.0, mask), x)
    assert torch.autograd.gradgradcheck(lambda z: zeroed_in_place(z * 1.0, mask) ** 3, x)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.detach().clone(), torch.ones_like(x))
        tangent = forward_ad.unpack_dual(zeroed_in_place(dual * 1.0, mask)).tangent
    assert torch.equal(tangent, mask.double().expand_as(x))
    single = torch.func.grad(lambda z: zeroed_in_place(z * 1.0, mask).sum())(x.detach())
    assert torch.equal(single, mask.double().expand_as(x))


@pytest.mark.parametrize(
    "module",
    [nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Sigmoid(), nn.Identity(), nn.Dropout(0.0)],
    ids=lambda m: type(m).__name__,
)
@pytest.mark.parametrize("training", [True, False])
def test_behind_any_module_nothing_else_is_written_to(module, training):
    layer = DefectiveMask(3, 4, 4).train(training)
    module, twin = (
        copy.deepcopy(module).double().train(training),
        copy.deepcopy(module).double().train(training),
    )
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    kept, one, other = x.clone(), x.clone().requires_grad_(), x.clone().requires_grad_()
    joined, apart = layer.after(module, one), layer(twin(other))
    assert torch.equal(joined, apart)
    (joined**2).sum().backward()
    (apart**2).sum().backward()
    assert torch.equal(one.grad, other.grad) and torch.equal(one.detach(), kept)
    layer.after(module, x)
    assert torch.equal(x, kept)


def test_a_hook_on_the_norm_is_given_the_norms_own_output():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    cut = surgeon.apply(network, "defective", input_size=(3, 8, 8)).eval()
    x, seen = torch.randn(2, 3, 8, 8), []
    alone = cut(x)
    cut.get_submodule("1").register_forward_hook(lambda m, a, out: seen.append(out))
    assert torch.equal(cut(x), alone) and torch.equal(seen[0], network[1](network[0](x)))
