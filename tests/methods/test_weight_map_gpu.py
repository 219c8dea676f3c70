"""The weight map layer's way on a GPU, against the layer in float64; without a GPU its kernels run in
Triton's interpreter."""

import pytest
import torch

from surgeon.methods.weight_map.filtering import Filter
from surgeon.methods.weight_map.gpu import on_gpu, takes
from surgeon.methods.weight_map.maths import resolve_padding, weight_map
from surgeon.methods.weight_map.module import WeightMap2d
from tests.methods.kernels import DEVICE, DTYPES, INTERPRETED, TOLERANCE, needs_gpu, needs_kernels, off

# channels in, out, (height, width), kernel, padding
CASES = [
    (6, 8, (7, 6), 3, 1),
    (3, 5, (5, 8), 3, 1),
    (20, 60, (4, 9), 3, 1),
    (6, 4, (6, 5), 1, 0),
    (6, 4, (6, 5), (2, 4), "same"),
    (6, 4, (6, 5), (5, 1), (2, 0)),
    (4, 4, (1, 1), 3, 1),
]


def filter_of(kernel, padding, mode, normalize):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    ones = 1 / (kernel[0] * kernel[1]) if normalize else 1.0
    sign, centre = (-1, 2.0) if mode == "unsharp" else (1, 0.0)
    return Filter(kernel, resolve_padding(padding, kernel, (1, 1), (1, 1)), sign * ones, centre)


def drawn(c_in, c_out, size, dtype, bias, images=2):
    x = torch.randn(images, c_in, *size).to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)
    maps = torch.randn(*size, c_in, c_out, device=DEVICE).div_(c_in**0.5).to(dtype)
    b = torch.randn(c_out, *size, device=DEVICE).to(dtype) if bias else None
    return x, maps.permute(3, 2, 0, 1), b


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_gradients_are_the_layers(case, mode, dtype):
    if INTERPRETED and dtype != torch.float32 and case != CASES[0]:
        pytest.skip("the interpreter is slow, and sums are in float32 for every dtype")
    c_in, c_out, size, kernel, padding = case
    bias, normalize = c_in != 3, c_in == 20
    filtering = filter_of(kernel, padding, mode, normalize)
    given = [t for t in drawn(c_in, c_out, size, dtype, bias) if t is not None]
    exact = [t.double().requires_grad_() for t in given]
    given = [t.requires_grad_() for t in given]
    out = on_gpu(*given, *[None] * (not bias), filtering)
    expected = weight_map(*exact, kernel_size=kernel, padding=padding, mode=mode, normalize=normalize)
    assert out.dtype == dtype and out.is_contiguous(memory_format=torch.channels_last)
    assert off(out, expected) < TOLERANCE[dtype]
    gradient = torch.randn_like(out)
    found = torch.autograd.grad(out, given, gradient)
    for g, e, t in zip(found, torch.autograd.grad(expected, exact, gradient.double()), given, strict=True):
        assert g.dtype == t.dtype and off(g, e) < TOLERANCE[dtype]


@needs_kernels
@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
@pytest.mark.parametrize("case", [CASES[0], CASES[4]], ids=str)
def test_gradients_have_gradients(case, mode):
    c_in, c_out, size, kernel, padding = case
    given = drawn(c_in, c_out, size, torch.float32, True)
    filtering = filter_of(kernel, padding, mode, False)

    def penalty(way, tensors):
        x = tensors[0]
        (g,) = torch.autograd.grad(way(*tensors).square().sum(), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), tensors)

    found = penalty(lambda *t: on_gpu(*t, filtering), [t.clone().requires_grad_() for t in given])
    exact = [t.double().requires_grad_() for t in given]
    expected = penalty(lambda *t: weight_map(*t, kernel_size=kernel, padding=padding, mode=mode), exact)
    assert all(off(f, e) < 1e-5 for f, e in zip(found, expected, strict=True))


@needs_kernels
def test_only_what_is_asked_for_gets_a_gradient():
    x, weight, bias = drawn(2, 3, (4, 4), torch.float32, True)
    filtering = filter_of(3, 1, "smoothing", False)
    for wanted in range(3):
        given = [t.clone().requires_grad_(i == wanted) for i, t in enumerate((x, weight, bias))]
        on_gpu(*given, filtering).sum().backward()
        assert [t.grad is not None for t in given] == [i == wanted for i in range(3)]


@needs_kernels
def test_a_bias_is_spread_over_the_positions():
    x, weight, _ = drawn(2, 3, (4, 4), torch.float32, True)
    filtering, bias = filter_of(3, 1, "smoothing", False), torch.randn(3, 1, 1, device=DEVICE)
    assert torch.equal(on_gpu(x, weight, bias, filtering), on_gpu(x, weight, bias.expand(3, 4, 4), filtering))
    with pytest.raises(RuntimeError, match="expand"):
        on_gpu(x, weight, torch.randn(3, 2, 2, device=DEVICE), filtering)


def test_a_tensor_without_memory_is_not_taken():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x, maps = torch.empty(2, 4, 4, 4, device="cuda"), torch.empty(4, 4, 4, 4, device="cuda")
        assert x.is_cuda
        assert not takes(x, maps.permute(3, 2, 0, 1), (1, 1), (1, 1), 1, filter_of(3, 1, "smoothing", False))


def test_a_cpu_goes_its_own_way():
    x, weight, _ = (t if t is None else t.cpu() for t in drawn(4, 4, (4, 4), torch.float32, False))
    assert not takes(x, weight, (1, 1), (1, 1), 1, filter_of(3, 1, "smoothing", False))


@needs_gpu
@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [16, 64, 128, 256])
def test_the_layer_on_a_gpu_is_the_layer_on_a_cpu(channels, memory, precision):
    layer = WeightMap2d(channels, channels, (9, 7), 3, padding=1, mode="unsharp").cuda()
    x = torch.randn(37, channels, 9, 7, device="cuda").contiguous(memory_format=memory).requires_grad_()
    assert takes(x, layer.by_channels(), (1, 1), (1, 1), 1, filter_of(3, 1, "unsharp", False))
    with torch.autocast("cuda", precision or torch.bfloat16, enabled=precision is not None):
        out = layer(x)
    assert out.is_contiguous(memory_format=memory) and out.dtype == (precision or torch.float32)
    out.float().square().sum().backward()
    exact = WeightMap2d(channels, channels, (9, 7), 3, padding=1, mode="unsharp").double()
    exact.load_state_dict(layer.state_dict())
    y = x.detach().cpu().double().requires_grad_()
    expected = exact(y)
    expected.square().sum().backward()
    bound = 1e-5 if precision is None else TOLERANCE[precision]
    assert off(out.cpu(), expected) < bound
    for found, wanted in (
        (x.grad, y.grad),
        (layer.maps.grad, exact.maps.grad),
        (layer.bias.grad, exact.bias.grad),
    ):
        assert found.dtype == torch.float32 and off(found.cpu(), wanted) < bound


@needs_gpu
def test_compiled_it_is_the_same():
    layer = WeightMap2d(32, 32, (8, 8), 3, padding=1).cuda()
    x = torch.randn(8, 32, 8, 8, device="cuda")
    assert off(torch.compile(layer)(x), layer(x).double()) < 1e-5
