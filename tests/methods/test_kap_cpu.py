"""Kernel Average Pooling's compiled way on a CPU, against the pooling in float64.

A mean of n numbers in float32 is off by at most n + 2 units of rounding of the mean of their magnitudes.
"""

import pytest
import torch

from surgeon.methods.kap import cpu
from surgeon.methods.kap.maths import kernel_average_pool
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.tensors.recording import plain

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="nothing can be compiled here")

# shape, K, dims, sheet
CASES = [
    ((2, 12, 5), 3, 2, None),
    ((3, 64, 4, 4), 3, 2, None),
    ((3, 64, 2, 2), 5, 2, None),
    ((5, 30), 3, 1, None),
    ((1, 7, 3, 3), 3, 2, None),
    ((2, 64, 1, 1), 4, 2, None),
    ((2, 64, 7, 7), 4, 2, None),
    ((1, 48, 17, 3, 3), 3, 2, (4, 12)),
    ((4, 6, 9), 2, 1, None),
    ((2, 2, 3, 5), 2, 1, None),
    ((2, 1, 8, 8), 3, 2, None),
    ((1, 12, 300, 2), 3, 2, None),
    ((7, 12, 8, 1), 3, 2, (3, 4)),
]


def pool(x, case, divisor):
    _, k, dims, sheet = case
    return kernel_average_pool(x, k, 1, dims, sheet=sheet, even=k % 2 == 0, divisor=divisor)


@pytest.mark.parametrize("divisor", ["channels", "window"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_the_poolings(case, divisor, memory):
    shape, k, *_ = case
    if memory == torch.channels_last and len(shape) != 4:
        pytest.skip("no such memory format")
    x = torch.randn(shape).contiguous(memory_format=memory).requires_grad_()
    assert cpu.takes(x)
    out, exact = pool(x, case, divisor), x.detach().double().requires_grad_()
    expected, gradient = pool(exact, case, divisor), torch.randn(shape)
    assert out.is_contiguous(memory_format=memory) and out.grad_fn.name().startswith("_Pooled")
    magnitude = exact.detach().abs().requires_grad_()
    bounds = pool(magnitude, case, divisor)
    unit = (k * k + 3) * torch.finfo(torch.float32).eps / 2
    assert ((out - expected).abs() <= unit * bounds).all()
    (ours,), (theirs,) = (
        torch.autograd.grad(out, x, gradient),
        torch.autograd.grad(expected, exact, gradient.double()),
    )
    (bound,) = torch.autograd.grad(bounds, magnitude, gradient.double().abs())
    assert ((ours - theirs).abs() <= unit * bound).all()


def test_memory_is_read_as_it_lies_and_left_alone():
    case = CASES[1]
    x = torch.randn(case[0])
    expected = pool(x, case, "channels")
    wide = torch.randn(3, 128, 8, 4)
    wide[:, ::2, ::2] = x
    for given in (
        wide[:, ::2, ::2],
        torch._neg_view(-x),
        x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
    ):
        kept = given.clone()
        assert torch.allclose(pool(given, case, "channels"), expected, rtol=0, atol=1e-6)
        assert torch.equal(given, kept)


def test_gradients_of_gradients_and_of_many_directions():
    case = CASES[1]
    x, v = torch.randn(case[0], requires_grad=True), torch.randn(case[0], requires_grad=True)
    (first,) = torch.autograd.grad((pool(x, case, "channels") * v).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first, v, torch.ones_like(first))  # the adjoint's adjoint: the pooling
    assert torch.allclose(second, pool(torch.ones_like(x), case, "channels"), atol=1e-6)
    out, directions = pool(x, case, "channels"), torch.randn(3, *case[0])
    (many,) = torch.autograd.grad(out, x, directions, is_grads_batched=True, retain_graph=True)
    for direction, together in zip(directions, many, strict=True):
        (alone,) = torch.autograd.grad(out, x, direction, retain_graph=True)
        assert torch.allclose(together, alone, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits():
    before = torch.get_num_threads()
    try:
        for case in CASES[:3]:
            x, outs = torch.randn(case[0]), []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                outs.append(pool(x, case, "channels"))
            assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])
    finally:
        torch.set_num_threads(before)


def test_what_is_taken():
    x = torch.randn(2, 16, 3, 3)
    assert cpu.takes(x) and cpu.takes(torch.nn.Parameter(x))
    for other in (x.double(), x.bfloat16(), x.to("meta"), x[:0]):
        assert not cpu.takes(other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cpu.takes(x)  # pooling is in the precision of its input there too
    seen = []
    torch.func.vmap(lambda z: seen.append(plain(z)) or z)(x)
    assert seen == [False]


def test_per_sample_gradients_and_tangents_are_torchs():
    layer = KernelAveragePool(16, 3)
    x, v = torch.randn(2, 16, 3, 3), torch.randn(2, 16, 3, 3)
    _, tangent = torch.func.jvp(layer, (x,), (v,))
    assert torch.allclose(tangent, layer(v), atol=1e-6)
    each = torch.func.vmap(layer)(x.unsqueeze(1)).squeeze(1)
    assert torch.allclose(each, layer(x), atol=1e-6)


def test_channels_stay_last_in_three_dimensions_too():
    x = torch.randn(2, 16, 3, 4, 5).contiguous(memory_format=torch.channels_last_3d)
    out = kernel_average_pool(x, 3)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.allclose(out, kernel_average_pool(x.contiguous(), 3), atol=1e-6)


def test_gradients_under_autocast_are_in_float32():
    x = torch.randn(2, 16, 3, 3, requires_grad=True)
    out, g = kernel_average_pool(x, 3), torch.randn(2, 16, 3, 3)
    (exact,) = torch.autograd.grad(out, x, g, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for under in (out, kernel_average_pool(x, 3)):
            assert torch.equal(torch.autograd.grad(under, x, g)[0], exact)


def test_tensors_without_their_memory_are_torchs():
    assert torch.equal(
        kernel_average_pool(torch._efficientzerotensor(1, 16, 3, 3), 3), torch.zeros(1, 16, 3, 3)
    )
    freed = torch.randn(2, 16, 3, 3)
    for size in (0, 100):
        freed.untyped_storage().resize_(size)
        assert not plain(freed) and not cpu.takes(freed)


def test_functions_with_wrong_numbers_are_not_used(monkeypatch):
    assert cpu.are_right(cpu.library())
    assert not cpu.are_right({"surgeon_sheets": lambda *args: 0})
    monkeypatch.setattr(cpu, "library", lambda: {"surgeon_sheets": lambda *args: 1})
    with pytest.raises(MemoryError, match="kernel average pooling found no memory for a sheet"):
        pool(torch.randn(CASES[1][0]), CASES[1], "channels")
