"""Kernel Average Pooling on activations: the function and the module."""

import copy
import pickle
import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from surgeon.errors import LayerError
from surgeon.methods.kap.maths import kernel_average_pool
from surgeon.methods.kap.module import KernelAveragePool
from tests.reference import kap as reference

SETTINGS = [
    (16, 3, 1, 2, None),
    (64, 5, 1, 2, None),
    (64, 3, 3, 2, None),
    (36, 3, 2, 2, (6, 6)),
    (12, 3, 1, 2, (4, 3)),
    (13, 5, 1, 2, None),
    (7, 3, 2, 2, None),
    (1, 3, 1, 2, None),
    (10, 7, 1, 1, None),
    (10, 3, 3, 1, None),
]


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize(("channels", "kernel", "stride", "dims", "sheet"), SETTINGS)
@pytest.mark.parametrize("spatial", [(), (5,), (3, 4), (2, 3, 2), (1, 1)])
def test_equals_the_loops(pool, channels, kernel, stride, dims, sheet, spatial):
    x = torch.randn(3, channels, *spatial, dtype=torch.float64)
    places = sheet or (reference.closest_factors(channels) if dims == 2 else (1, channels))
    expected = reference.pool(x, kernel, stride, places, pool)
    out = kernel_average_pool(x, kernel, stride, dims, pool=pool, sheet=sheet)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    layer = KernelAveragePool(channels, kernel, stride, dims, pool=pool, sheet=sheet)
    assert layer.out_channels == expected.shape[1]
    assert torch.equal(layer(x), out)


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("shape", ["contiguous", "channels_last", "sliced", "transposed", "channels_last_3d"])
def test_any_memory_layout(pool, shape):
    x = torch.randn(2, 16, 6, 4, dtype=torch.float64)
    if shape == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    elif shape == "sliced":
        x = torch.randn(2, 32, 6, 8, dtype=torch.float64)[:, ::2, :, 1:5]
    elif shape == "transposed":
        x = x.transpose(2, 3)
    elif shape == "channels_last_3d":
        x = torch.randn(2, 16, 3, 4, 2, dtype=torch.float64).to(memory_format=torch.channels_last_3d)
    out = kernel_average_pool(x, 3, pool=pool)
    torch.testing.assert_close(out, reference.pool(x, 3, 1, (4, 4), pool), rtol=0, atol=1e-12)
    if shape == "channels_last":
        assert out.is_contiguous(memory_format=torch.channels_last)
    if shape == "contiguous":
        assert out.is_contiguous()


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float32, 1e-6), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_other_dtypes(pool, dtype, atol, layout):
    x = torch.randn(2, 16, 5, 5).to(dtype).to(memory_format=layout)
    out = KernelAveragePool(16, 3, pool=pool, alpha=0.5)(x)
    assert out.dtype == dtype
    expected = 0.5 * x.double() + 0.5 * reference.pool(x, 3, 1, (4, 4), pool)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=atol)


def test_autocast_keeps_the_dtype_of_the_convolution():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), KernelAveragePool(16, 3, alpha=0.5))
    with torch.autocast("cpu", torch.bfloat16):
        out = model(torch.randn(2, 3, 8, 8))
    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(0, 16, 4, 4), (2, 16, 0, 4), (0, 16), (2, 16, 0)])
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_empty_inputs(shape, pool):
    x = torch.randn(shape, requires_grad=True)
    out = KernelAveragePool(16, 3, 2, pool=pool)(x)
    assert out.shape == (shape[0], 4, *shape[2:])
    if shape[0] == 0:
        out.sum().backward()
        assert x.grad.shape == shape


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradient(pool, stride):
    x = torch.randn(2, 12, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: kernel_average_pool(x, 3, stride, pool=pool), x)
    layer = KernelAveragePool(12, 3, alpha=0.3)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_alpha_blends_and_matrix_says_so(alpha):
    x = torch.randn(2, 16, 3, 3, dtype=torch.float64)
    layer = KernelAveragePool(16, 3, alpha=alpha)
    expected = (1 - alpha) * x + alpha * reference.pool(x, 3, 1, (4, 4))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.einsum("oc,nchw->nohw", layer.matrix(), x), expected, rtol=0, atol=1e-12)
    if alpha == 0:
        assert torch.equal(layer(x), x)


def test_set_alpha_moves_the_buffer_and_the_output():
    x = torch.randn(2, 16, 3, 3)
    layer = KernelAveragePool(16, 3)
    full = layer(x)
    layer.set_alpha(0.0)
    assert layer.alpha.dtype == torch.float32 and layer.alpha.dim() == 0 and float(layer.alpha) == 0
    assert torch.equal(layer(x), x)
    layer.set_alpha(1)
    assert torch.equal(layer(x), full)


def test_alpha_travels_in_the_state_dict_and_may_be_missing():
    x = torch.randn(2, 16, 3, 3)
    source, target = KernelAveragePool(16, 3, alpha=0.25), KernelAveragePool(16, 3)
    assert list(source.state_dict()) == ["alpha"]
    target.load_state_dict(source.state_dict())
    assert torch.equal(target(x), source(x))
    target.load_state_dict({}, strict=True)
    assert torch.equal(target(x), source(x))
    target.load_state_dict({"alpha": torch.tensor(1.0)})
    assert torch.equal(target(x), kernel_average_pool(x, 3))


def test_stock_state_dict_loads_strictly_into_a_cut_model():
    stock, cut = nn.Module(), nn.Module()
    stock.conv = nn.Conv2d(3, 16, 3)
    cut.conv, cut.kap = nn.Conv2d(3, 16, 3), KernelAveragePool(16, 3, alpha=0.5)
    cut.load_state_dict(stock.state_dict(), strict=True)
    assert torch.equal(cut.conv.weight, stock.conv.weight) and float(cut.kap.alpha) == 0.5
    with pytest.raises(RuntimeError, match=r"Unexpected key.*kap.weight"):
        cut.load_state_dict({**cut.state_dict(), "kap.weight": torch.ones(1)})
    with pytest.raises(RuntimeError, match=r"Missing key.*conv.weight"):
        cut.load_state_dict({"conv.bias": torch.zeros(16)})


def test_noise_is_normal_in_training_and_absent_in_evaluation():
    x = torch.randn(64, 16, 16, 16)
    layer = KernelAveragePool(16, 3, sigma=0.2)
    noise = layer(x) - kernel_average_pool(x, 3)
    assert abs(noise.mean()) < 0.002 and abs(noise.std() - 0.2) < 0.002
    assert abs((noise.abs() < 0.2).float().mean() - 0.6827) < 0.005
    layer.eval()
    assert torch.equal(layer(x), kernel_average_pool(x, 3))


def test_copies_and_pickles():
    x = torch.randn(2, 16, 3, 3)
    layer = KernelAveragePool(16, 3, alpha=0.5).eval()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))
        twin.set_alpha(1.0)
        assert float(layer.alpha) == 0.5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_compiles_without_graph_breaks_while_alpha_moves(layout):
    torch._dynamo.reset()
    layer = KernelAveragePool(16, 3, sigma=0.0, alpha=0.0)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    x = torch.randn(2, 16, 5, 5).to(memory_format=layout).requires_grad_()
    for step in range(12):
        layer.set_alpha(step / 12)
        out = compiled(x)
        torch.testing.assert_close(out, layer(x))
        torch.testing.assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (out, layer(x))))
    assert counter.frame_count == 1
    layer.set_alpha(1.0)
    torch.testing.assert_close(compiled(x), layer(x))
    assert counter.frame_count == 1


@pytest.mark.skipif(shutil.which("gcc") is None, reason="inductor needs a C compiler")
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="torch's generated code does not compile without vector instructions",
)
def test_inductor():
    torch._dynamo.reset()
    layer = KernelAveragePool(12, 3, alpha=0.5)
    x = torch.randn(2, 12, 3, 3)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), layer(x))


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_exports_with_a_free_batch(pool):
    model = nn.Sequential(nn.Conv2d(3, 16, 3), KernelAveragePool(16, 3, pool=pool, sigma=0.1)).eval()
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(model, (torch.randn(4, 3, 8, 8),), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 3, 8, 8)
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: KernelAveragePool(64, 9),
            "kernel_size=9 exceeds the 8x8 sheet of 64 channels; largest odd size is 7",
        ),
        (
            lambda: KernelAveragePool(64, 3, pool="min"),
            "pool='min' is not known; 'mean' (KAP) and 'max' (KMP) are",
        ),
        (lambda: kernel_average_pool(torch.ones(1, 4), 1, pool="avg"), "pool='avg' is not known"),
        (lambda: kernel_average_pool(torch.ones(4), 1), "needs (N, C, ...) activations, got shape (4,)"),
        (
            lambda: KernelAveragePool(64, 3, sigma=-1),
            "sigma=-1 is not a standard deviation; it must be finite",
        ),
        (lambda: KernelAveragePool(64, 3, alpha=1.5), "alpha=1.5 is outside [0, 1]"),
        (lambda: KernelAveragePool(64, 3).set_alpha(-0.5), "alpha=-0.5 is outside [0, 1]"),
        (
            lambda: KernelAveragePool(64, 3, 2, alpha=0.5),
            "alpha=0.5 cannot blend 64 channels with the 16 of stride=2; use stride=1, or alpha=1",
        ),
        (
            lambda: KernelAveragePool(16, 3, pool="max").matrix(),
            "pool='max' is not linear, so it has no matrix",
        ),
        (
            lambda: KernelAveragePool(16, 3)(torch.ones(2, 8, 4, 4)),
            "this layer pools 16 channels, got an input of shape (2, 8, 4, 4); expected (N, 16, ...)",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(LayerError) as caught:
        call()
    assert text in str(caught.value)


def test_a_loaded_alpha_is_checked():
    with pytest.raises(RuntimeError, match="alpha=0.5 cannot blend"):
        KernelAveragePool(64, 3, 2).load_state_dict({"alpha": torch.tensor(0.5)})
