"""The weight map layer and its warm starts, against loops over every output number."""

import copy
import itertools
import pickle
import shutil

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from surgeon.errors import LayerError
from surgeon.methods.weight_map.maths import weight_map
from surgeon.methods.weight_map.module import WeightMap2d, init_from_conv
from tests.methods.weight_maps import CASES, make, written_out


@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_equations(case, mode):
    layer = make(case, mode=mode, normalize=case[3] == 3 and case[4] == 2).double()
    x = torch.randn(2, case[0], *case[2], dtype=torch.float64)
    with torch.no_grad():
        out = layer(x)
        torch.testing.assert_close(out, written_out(layer, x), rtol=0, atol=1e-12)
    conv = nn.Conv2d(case[0], case[1], *case[3:]).double()
    assert out.shape == conv(x).shape and layer.by_channels().shape[:2] == conv.weight.shape[:2]


@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("case", [CASES[2], CASES[4], CASES[9]], ids=str)
def test_gradient(case, mode, normalize):
    layer = make(case, mode=mode, normalize=normalize).double()
    x = torch.randn(2, case[0], *case[2], dtype=torch.float64, requires_grad=True)
    settings = dict(zip(("kernel_size", "stride", "padding", "dilation", "groups"), case[3:], strict=True))

    def run(x, w, b):
        return weight_map(x, w, b, mode=mode, normalize=normalize, **settings)

    assert torch.autograd.gradcheck(run, (x, layer.by_channels(), layer.bias), fast_mode=True)


def test_the_large_intermediate_never_exists():
    layer = WeightMap2d(16, 16, (12, 12), 3, padding=1, mode="unsharp")
    x = torch.randn(8, 16, 12, 12)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        layer(x)
    assert layer.by_channels().numel() <= largest < 2 * layer.by_channels().numel() < 8 * 16 * 16 * 12 * 12


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "empty"])
@pytest.mark.parametrize("case", [CASES[2], CASES[4], CASES[9]], ids=str)
def test_any_layout_and_an_empty_batch(case, layout):
    layer = make(case, mode="unsharp").double()
    x = torch.randn(3, case[0], *case[2], dtype=torch.float64)
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    elif layout == "sliced":
        x = torch.randn(6, case[0] * 2, *case[2], dtype=torch.float64)[::2, ::2]
    else:
        x = x[:0]
    torch.testing.assert_close(layer(x), written_out(layer, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)]
)
@pytest.mark.parametrize("case", [CASES[2], CASES[9]], ids=str)
def test_other_dtypes(case, mode, dtype, rtol):
    layer = make(case, mode=mode).to(dtype)
    x = torch.randn(2, case[0], *case[2]).to(dtype)
    out = layer(x)
    assert out.dtype == dtype
    expected = written_out(layer, x)
    assert (out.double() - expected).abs().max() < rtol * expected.abs().max()


def test_autocast_gives_the_dtype_of_a_convolution():
    layer = WeightMap2d(4, 4, (6, 6), 3, padding=1, mode="unsharp")
    x = torch.randn(2, 4, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x), rtol=0.05, atol=0.05)


def test_start_is_uniform_and_repeats():
    layer = WeightMap2d(8, 16, (20, 20), 3, groups=2, padding=1)
    bound = 1 / (4 * 9) ** 0.5
    for parameter in (layer.by_channels(), layer.bias):
        assert parameter.abs().max() <= bound
        assert abs(parameter.std() - bound / 3**0.5) < 0.01 * bound
    layer.reset_parameters(torch.Generator().manual_seed(4))
    first = layer.by_channels().clone()
    layer.reset_parameters(torch.Generator().manual_seed(4))
    assert torch.equal(layer.by_channels(), first)
    assert WeightMap2d(8, 4, (20, 20), 3, fan_in=400).by_channels().abs().max() <= 1 / 20


def test_no_bias_and_the_state_dict():
    assert list(WeightMap2d(2, 3, (4, 5), 3, bias=False).state_dict()) == ["maps"]
    layer = WeightMap2d(2, 3, (4, 5), 3)
    assert layer.by_channels().shape == (3, 2, 4, 5) and layer.bias.shape == (3, 2, 3)
    with pytest.raises(RuntimeError, match="Missing key"):
        layer.load_state_dict({})


@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("start", ["mean", "projection"])
@pytest.mark.parametrize("kernel", [3, (1, 3)])
def test_start_from_a_convolution(mode, normalize, start, kernel):
    conv = nn.Conv2d(4, 6, kernel, stride=2, padding=1, groups=2).double()
    layer = WeightMap2d(4, 6, (8, 8), kernel, 2, 1, groups=2, mode=mode, normalize=normalize).double()
    if mode == "smoothing":
        pattern = torch.ones_like(conv.weight)
    else:
        pattern = -torch.ones_like(conv.weight)
        if normalize:
            pattern /= pattern[0, 0].numel()
        pattern[:, :, pattern.shape[2] // 2, pattern.shape[3] // 2] += 2
    if start == "mean" and mode == "unsharp":
        pattern = torch.ones_like(conv.weight)
        area = conv.weight[0, 0].numel()
        init_from_conv(layer, conv.weight, conv.bias, start=start)
        expected = conv.weight.mean((2, 3)) * (area if normalize else 1)
        torch.testing.assert_close(layer.by_channels()[:, :, 3, 2], expected, rtol=0, atol=1e-12)
        return
    with torch.no_grad():
        conv.weight.copy_(torch.randn(6, 2, 1, 1, dtype=torch.float64) * pattern)
    assert init_from_conv(layer, conv.weight, conv.bias, start=start) is layer
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), conv(x), rtol=0, atol=1e-12)
    init_from_conv(layer, conv.weight, None, start=start)
    assert not layer.bias.any()


def test_projection_is_the_nearest_constant_map():
    layer = WeightMap2d(1, 1, (9, 9), 3, padding=1, mode="unsharp", bias=False).double()
    kernel = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    init_from_conv(layer, kernel, start="projection")
    best = layer.by_channels()[0, 0, 0, 0].item()

    def distance(value):
        impulse = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
        impulse[0, 0, 4, 4] = 1
        layer.by_channels().data.fill_(value)
        wanted = nn.functional.conv2d(impulse, kernel, padding=1)
        return (layer(impulse) - wanted).square().sum().item()

    assert distance(best) < min(distance(best + 0.01), distance(best - 0.01))


def test_resize_keeps_a_constant_map_and_says_so():
    layer = WeightMap2d(2, 3, (8, 8), 3, 2, 1).double()
    layer.by_channels().data.fill_(0.5)
    with pytest.warns(UserWarning, match=r"maps learned at 8x8 were interpolated \(bicubic\) to 12x10"):
        assert layer.resize(12, 10) is layer
    assert (
        layer.input_size == (12, 10)
        and layer.by_channels().shape == (3, 2, 12, 10)
        and layer.bias.shape == (3, 6, 5)
    )
    torch.testing.assert_close(layer.by_channels().detach(), torch.full_like(layer.by_channels(), 0.5))
    assert layer.by_channels().requires_grad and layer(torch.randn(1, 2, 12, 10).double()).shape == (
        1,
        3,
        6,
        5,
    )
    with pytest.raises(LayerError, match="does not fit a side of 1"):
        WeightMap2d(2, 3, (8, 8), 3).resize(1, 8)


def test_resize_is_bicubic_and_keeps_the_dtype():
    layer = WeightMap2d(1, 1, (6, 6), 3, bias=False).bfloat16()
    before = layer.by_channels().detach().float()
    with pytest.warns(UserWarning, match="interpolat"):
        layer.resize(9, 9)
    expected = nn.functional.interpolate(before, size=(9, 9), mode="bicubic", align_corners=False)
    assert torch.equal(layer.by_channels().detach(), expected.bfloat16())


def test_copies_and_pickles():
    layer = make(CASES[2], mode="unsharp")
    x = torch.randn(2, 4, 6, 5)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))


@pytest.mark.parametrize(
    ("mode", "case"), list(itertools.product(["smoothing", "unsharp"], [CASES[2], CASES[9]]))
)
def test_compiles_and_exports(mode, case):
    torch._dynamo.reset()
    layer = make(case, mode=mode)
    x = torch.randn(4, case[0], *case[2])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    torch.testing.assert_close(program.module()(x[:3]), layer(x[:3]))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="inductor needs a C compiler")
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="torch's generated code does not compile without vector instructions",
)
def test_inductor():
    torch._dynamo.reset()
    layer = WeightMap2d(4, 4, (6, 6), 3, padding=1, mode="unsharp")
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), layer(x), rtol=1e-4, atol=1e-5)


X = torch.ones(2, 2, 4, 4)
W = torch.ones(4, 2, 4, 4)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: weight_map(X, W, kernel_size=3, mode="blur"),
            "mode='blur' is not known; 'smoothing' and 'unsharp' are",
        ),
        (lambda: WeightMap2d(2, 2, (4, 4), 3, mode="blur"), "mode='blur' is not known"),
        (
            lambda: weight_map(X, torch.ones(4, 2, 5, 4), kernel_size=3),
            "a weight map of shape (4, 2, 5, 4) with groups=1 expects an input (N, 2, 5, 4), got (2, 2,",
        ),
        (lambda: weight_map(X, W, kernel_size=5), "a window of 5 does not fit a side of 4 padded by 0+0"),
        (
            lambda: weight_map(X, W, kernel_size=0),
            "kernel_size=0 must be an integer of at least 1, or two of them",
        ),
        (lambda: weight_map(X, W, kernel_size=3, stride=(1, 2, 3)), "stride=(1, 2, 3) must be an integer"),
        (lambda: weight_map(X, W, kernel_size=3, padding=-1), "padding=-1 must be an integer of at least 0"),
        (lambda: weight_map(X, W, kernel_size=3, padding="same", stride=2), "padding='same' needs stride 1"),
        (
            lambda: weight_map(X, W, kernel_size=3, padding="full"),
            "padding='full' is not known; a number, a pair",
        ),
        (
            lambda: WeightMap2d(2, 2, (4, 4), 3, padding_mode="reflect"),
            "padding_mode='reflect' is not supported; a weight map pads with 'zeros'",
        ),
        (
            lambda: WeightMap2d(3, 4, (4, 4), 3, groups=2),
            "groups=2 does not divide 3 input and 4 output channels",
        ),
        (lambda: WeightMap2d(2, 2, (4, 4), 3, fan_in=0), "fan_in=0 must be positive"),
        (lambda: WeightMap2d(2, 2, (2, 4), 3), "a window of 3 does not fit a side of 2 padded by 0+0"),
        (
            lambda: WeightMap2d(2, 2, (4, 6), 3)(torch.ones(1, 2, 6, 4)),
            "this weight map is 4x6, got an input of shape (1, 2, 6, 4); expected (N, 2, 4, 6), or resize",
        ),
        (
            lambda: init_from_conv(WeightMap2d(2, 2, (4, 4), 3), torch.ones(2, 2, 5, 5)),
            "a convolution weight of shape (2, 2, 5, 5) does not fit; expected (2, 2, 3, 3)",
        ),
        (
            lambda: init_from_conv(
                WeightMap2d(2, 2, (4, 4), 3, bias=False), torch.ones(2, 2, 3, 3), torch.ones(2)
            ),
            "the convolution has a bias but the weight map layer was made with bias=False",
        ),
        (
            lambda: init_from_conv(WeightMap2d(2, 2, (4, 4), 3), torch.ones(2, 2, 3, 3), torch.ones(3)),
            "a bias of shape (3,) does not fit; expected (2,)",
        ),
        (
            lambda: init_from_conv(WeightMap2d(2, 2, (4, 4), 3), torch.ones(2, 2, 3, 3), start="copy"),
            "start='copy' is not known; 'mean' and 'projection' are",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(LayerError) as caught:
        call()
    assert text in str(caught.value)


@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
def test_many_weights_at_once(mode):
    layer = WeightMap2d(2, 3, (5, 4), 3, padding=1, mode=mode, bias=False)
    stack = torch.randn(4, *layer.maps.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x = torch.randn(2, 2, 5, 4)

    def run(maps):
        return torch.func.functional_call(layer, {"maps": maps}, (x,))

    torch.testing.assert_close(torch.func.vmap(run)(stack), torch.stack([run(m) for m in stack]))


def test_weights_lie_as_products_read_them_whatever_the_network_is_told():
    layer = WeightMap2d(6, 4, (5, 3), 3, padding=1).to(memory_format=torch.channels_last)
    assert layer.maps.is_contiguous() and layer.maps.shape == (5, 3 * 6, 4)
    assert layer.by_channels().data_ptr() == layer.maps.data_ptr()


def test_maps_are_read_under_their_own_name_alone():
    layer, other = (WeightMap2d(2, 3, (5, 4), 3, padding=1) for _ in range(2))
    before = other.maps.detach().clone()
    shown = {"weight": layer.by_channels().detach().clone(), "bias": layer.bias.detach()}
    with pytest.raises(RuntimeError, match=r"weight, \(3, 2, 5, 4\), is not that of a weight map of 5x4"):
        other.load_state_dict(shown)
    assert torch.equal(other.maps, before)
    pair = torch.nn.Sequential(layer, torch.nn.ReLU())
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.maps"):
        pair.load_state_dict({"0.bias": layer.bias})


SQUARE = (3, 3)
"""A map as large as the kernel: shapes alone do not tell the two."""


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [SQUARE, (5, 4)])
@pytest.mark.parametrize("strict", [False, True])
def test_a_convolutions_weight_is_never_taken_for_a_map(bias, size, strict):
    layer = nn.Sequential(WeightMap2d(2, 3, size, 3, padding=1, bias=bias))
    state = nn.Sequential(nn.Conv2d(2, 3, 3, bias=bias)).state_dict()
    before = layer[0].maps.clone()
    with pytest.raises(RuntimeError) as caught:
        layer.load_state_dict(state, strict=strict)
    text = f"0.weight, (3, 2, 3, 3), is not that of a weight map of {size[0]}x{size[1]}, which is 0.maps"
    assert text in str(caught.value) and "load into it before surgeon.apply" in str(caught.value)
    assert "[9, " not in str(caught.value)
    assert torch.equal(layer[0].maps, before)


@pytest.mark.parametrize("kind", [torch.Tensor, nn.Parameter])
def test_another_weight_is_refused_with_what_works(kind):
    layer = WeightMap2d(2, 4, (5, 6), 3, padding=1)
    maps = layer.maps.detach().clone()
    with pytest.raises(
        LayerError, match=r"its parameter is maps \(5, 12, 4\), and by_channels\(\) .*\(4, 2, 5, 6\)"
    ):
        layer.weight = kind(torch.zeros(4, 2, 3, 3))
    assert torch.equal(layer.maps, maps) and set(dict(layer.named_parameters())) == {"maps", "bias"}
    with torch.no_grad():
        layer.by_channels().copy_(2 * layer.by_channels())
    assert torch.equal(layer.maps, 2 * maps)


def test_no_weight_is_found_that_is_none():
    """Code that writes `weight.data`, or freezes a weight, would write to a view that nobody has."""
    layer = WeightMap2d(2, 4, (5, 6), 3, padding=1)
    assert not hasattr(layer, "weight")
    with pytest.raises(AttributeError, match="weight"):
        layer.weight.data = torch.zeros(4, 2, 5, 6)
    layer.maps.data = layer.maps.data.clamp(-0.01, 0.01)
    layer.maps.requires_grad = False
    assert layer.by_channels().abs().max() <= 0.01 and not layer.by_channels().requires_grad


def test_a_norm_finds_no_weight_to_be_fused_into():
    layer = WeightMap2d(2, 4, (5, 6), 3, padding=1, bias=False).eval()
    with pytest.raises(AttributeError, match="'WeightMap2d' object has no attribute 'weight'"):
        fuse_conv_bn_eval(layer, nn.BatchNorm2d(4).eval())
