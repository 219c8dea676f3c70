"""The weight map layer's compiled way on a CPU, against the layer in float64.

Rounding is bounded, not guessed: each sum of n terms in float32 is off by at most n units of rounding of the sum of
the terms' magnitudes, and those are the same layer of |x|, |W|, |b|, with both parts of the filter added.
"""

import os
import subprocess
import sys

import pytest
import torch

from surgeon.methods.weight_map import cpu
from surgeon.methods.weight_map.maths import weight_map

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="nothing can be compiled here")

# channels in, out, (height, width), kernel, stride, padding, dilation, images
CASES = [
    (6, 8, (7, 6), 3, 1, 1, 1, 3),
    (3, 5, (5, 8), 3, 1, 1, 1, 7),
    (1, 1, (1, 1), 1, 1, 0, 1, 1),
    (4, 4, (1, 1), 3, 1, 1, 1, 2),
    (2, 3, (9, 2), 3, 1, 1, 1, 6),
    (17, 33, (7, 7), (2, 4), 1, "same", 1, 5),
    (20, 19, (5, 33), (5, 1), 1, (2, 0), 1, 13),
    (70, 9, (3, 17), 3, 1, 1, 1, 65),
    (9, 270, (4, 4), 3, 1, 1, 1, 12),
    (3, 5, (16, 17), 7, 1, 3, 1, 9),
    (6, 4, (8, 7), 3, 2, 1, 1, 6),
    (6, 4, (9, 7), 3, 1, 2, 2, 6),
    (6, 4, (9, 7), 2, 1, 0, 1, 6),
    (4, 6, (13, 12), 13, 1, 6, 1, 6),
]


def drawn(case, bias=True):
    c_in, c_out, size, kernel, stride, padding, dilation, n = case
    arguments = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    x, maps = torch.randn(n, c_in, *size), torch.randn(*size, c_in, c_out)
    out = weight_map(x.double(), maps.permute(3, 2, 0, 1).double(), **arguments)
    return [x, maps, torch.randn(out.shape[1:])][: 3 if bias else 2], arguments


def layer(x, maps, bias=None, **arguments):
    return weight_map(x, maps.permute(3, 2, 0, 1), bias, **arguments)


def gradients(of, given, gradient):
    given = [t.detach().requires_grad_() for t in given]
    return torch.autograd.grad(of(*given), given, gradient, materialize_grads=True)


def off_by(given, arguments, mode, gradient):
    """What rounding may make of outputs and gradients, from |x|, |W|, |b| and |gradient|."""
    magnitudes = [t.double().abs() for t in given]

    def sums(*some):
        smooth = layer(*some, mode="smoothing", **arguments)
        # unsharp is 2 m − box: with both signs turned it is smoothing and twice what stands at the centres
        return smooth if mode == "smoothing" else 2 * smooth + layer(*some, mode="unsharp", **arguments)

    height, width = (
        (arguments["kernel_size"],) * 2
        if isinstance(arguments["kernel_size"], int)
        else arguments["kernel_size"]
    )
    terms = max(*given[0].shape[:2], given[1].shape[3]) + height * width + 4
    unit = torch.finfo(torch.float32).eps / 2
    at = sums(*magnitudes), *gradients(sums, magnitudes, gradient.double().abs())
    return [terms * unit * t.detach() for t in at]


@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_gradients_are_the_layers(case, mode):
    given, arguments = drawn(case, bias=case[0] != 3)
    assert cpu.takes(given[0], given[1].permute(3, 2, 0, 1), None, 1)

    def of(*some):
        return layer(*some, mode=mode, **arguments)

    out, exact = of(*given), of(*[t.double() for t in given])
    gradient = torch.randn_like(out)
    measured = [out, *gradients(of, given, gradient)]
    expected = [exact, *gradients(of, [t.double() for t in given], gradient.double())]
    assert out.is_contiguous() and measured[2].is_contiguous()
    for ours, theirs, bound in zip(measured, expected, off_by(given, arguments, mode, gradient), strict=True):
        assert ours.dtype == torch.float32 and ours.shape == theirs.shape
        assert bool(((ours - theirs).abs() <= bound).all())


def test_torchs_operations_and_the_compiled_ones_agree(monkeypatch):
    given, arguments = drawn(CASES[0])
    ours = layer(*given, mode="unsharp", **arguments)
    monkeypatch.setattr(cpu, "takes", lambda *args: False)
    theirs = layer(*given, mode="unsharp", **arguments)
    assert not torch.equal(ours, theirs)
    assert bool(((ours - theirs).abs() <= 2 * off_by(given, arguments, "unsharp", ours)[0]).all())


@pytest.mark.parametrize("case", CASES[:10:3], ids=str)
def test_an_image_has_the_same_numbers_in_any_company_and_on_any_number_of_threads(case):
    (x, maps, bias), arguments = drawn(case)
    many = torch.cat([x] * 5)
    out = layer(many, maps, bias, mode="unsharp", **arguments)
    assert torch.equal(out[-len(x) :], layer(x, maps, bias, mode="unsharp", **arguments))
    gradient = torch.randn_like(out)
    before = torch.get_num_threads()
    per_threads = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            per_threads.append(
                gradients(lambda *g: layer(*g, mode="unsharp", **arguments), (many, maps, bias), gradient)
            )
    finally:
        torch.set_num_threads(before)
    for one, *others in zip(*per_threads[:3], strict=True):
        if one.shape != bias.shape:  # the bias's gradient is torch's sum
            assert all(torch.equal(one, other) for other in others)


def test_inputs_lie_as_they_like_and_are_left_alone():
    (x, maps, bias), arguments = drawn(CASES[0])
    expected = layer(x, maps, bias, **arguments)
    wide = torch.randn(3, 12, 14, 12)
    wide[:, ::2, ::2, ::2] = x
    apart = torch.randn(bias.shape[::-1])
    apart.copy_(bias.permute(2, 1, 0))
    sliced = wide[:, ::2, ::2, ::2]
    for given in (
        sliced,
        x.transpose(0, 1).contiguous().transpose(0, 1),
        torch._neg_view(-x),
        torch.nn.Parameter(x),
    ):
        kept = given.clone()
        assert torch.equal(layer(given, maps, apart.permute(2, 1, 0), **arguments), expected)
        assert torch.equal(given, kept)
    one = x[:1].expand(3, -1, -1, -1)
    assert torch.equal(layer(one, maps, bias, **arguments), layer(one.contiguous(), maps, bias, **arguments))


def test_a_bias_of_one_number_a_channel_is_spread():
    (x, maps, _), arguments = drawn(CASES[0])
    bias = torch.randn(8, 1, 1, dtype=torch.float64, requires_grad=True)
    out = layer(x, maps, bias, **arguments)
    assert torch.equal(out, layer(x, maps, bias.detach().float().expand(8, 7, 6), **arguments))
    (gradient,) = torch.autograd.grad(out.sum(), bias)
    assert gradient.shape == bias.shape and torch.equal(gradient, torch.full_like(bias, 3 * 7 * 6))


def test_only_what_needs_a_gradient_gets_one():
    (x, maps, bias), arguments = drawn(CASES[0])
    for needing in range(3):
        given = [t.clone().requires_grad_(i == needing) for i, t in enumerate((x, maps, bias))]
        layer(*given, **arguments).sum().backward()
        assert [t.grad is not None for t in given] == [i == needing for i in range(3)]


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_gradients_are_the_layers(stride):
    given, arguments = drawn((3, 4, (5, 6), 3, stride, 1, 1, 4))

    def penalty(*some):
        some = [t.detach().requires_grad_() for t in some]
        out = layer(*some, mode="unsharp", **arguments)
        first = torch.autograd.grad((out**2).sum(), some, create_graph=True)
        return torch.autograd.grad(sum((g**2).sum() for g in first), some)

    for ours, theirs in zip(penalty(*given), penalty(*[t.double() for t in given]), strict=True):
        assert ((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5


def test_gradients_of_many_directions_at_once():
    given, arguments = drawn(CASES[0])
    given = [t.requires_grad_() for t in given]
    out = layer(*given, mode="unsharp", **arguments)
    directions = torch.randn(3, *out.shape)
    many = torch.autograd.grad(out, given, directions, is_grads_batched=True, retain_graph=True)
    for i, direction in enumerate(directions):
        for together, alone in zip(
            many, torch.autograd.grad(out, given, direction, retain_graph=True), strict=True
        ):
            assert torch.allclose(together[i], alone, rtol=1e-4, atol=1e-4)


def test_infinities_are_the_layers():
    given, arguments = drawn((3, 4, (6, 5), 3, 1, 1, 1, 4))
    wide, _ = drawn((3, 4, (6, 20), 3, 1, 1, 1, 4))
    for x, maps, bias in (given, wide):
        x[1, 2, 3, 3] = float("inf")
        for mode in ("smoothing", "unsharp"):
            ours = layer(x, maps, bias, mode=mode, **arguments)
            theirs = layer(x.double(), maps.double(), bias.double(), mode=mode, **arguments)
            assert torch.equal(ours.isnan(), theirs.isnan()) and torch.equal(ours.isinf(), theirs.isinf())


def test_an_export_says_nothing_of_the_number_of_images():
    x, maps = torch.randn(40, 600, 2, 2), torch.randn(2, 2, 600, 600)

    class Layer(torch.nn.Module):
        def forward(self, x):
            return layer(x, maps, kernel_size=3, padding=1)

    free = {"x": {0: torch.export.Dim("n", min=1, max=4096)}}
    program = torch.export.export(Layer(), (x,), dynamic_shapes=free)
    assert torch.allclose(program.module()(x[:1]), Layer()(x[:1]), rtol=1e-3, atol=1e-2)


def test_what_is_taken():
    (x, maps, bias), _ = drawn(CASES[0])
    weight = maps.permute(3, 2, 0, 1)
    assert cpu.takes(x, weight, bias, 1) and cpu.takes(x, torch.nn.Parameter(weight), None, 1)
    assert not cpu.takes(x, weight, bias, 2)
    assert not cpu.takes(x.double(), weight.double(), bias, 1)
    assert not cpu.takes(x.to("meta"), weight.to("meta"), None, 1)
    assert not cpu.takes(x.contiguous(memory_format=torch.channels_last), weight, bias, 1)
    assert not cpu.takes(x, weight.contiguous(), bias, 1)
    assert not cpu.takes(torch.randn(1, 600, 2, 2), torch.randn(2, 2, 600, 600).permute(3, 2, 0, 1), None, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not cpu.takes(x, weight, bias, 1)
    seen = []
    torch.func.grad(lambda z: seen.append(cpu.takes(x, weight, bias, 1)) or z.sum())(x)
    with torch.autograd.forward_ad.dual_level():
        seen.append(cpu.takes(x, weight, bias, 1))
    assert seen == [False, False]


def test_gradients_that_are_enabled_in_inference_mode_are_not_recorded():
    given, arguments = drawn(CASES[0])
    given[1].requires_grad_()
    expected = layer(*given, **arguments)
    with torch.inference_mode(), torch.enable_grad():
        out = layer(given[0].clone(), *given[1:], **arguments)
    assert torch.equal(out, expected) and not out.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_what_hooks_of_other_code_saved_in_another_type_is_torchs_error(dtype):
    given, arguments = drawn(CASES[0])
    given = [t.requires_grad_() for t in given]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.to(dtype), lambda t: t):
        out = layer(*given, mode="unsharp", **arguments)
    with pytest.raises(RuntimeError, match="expected scalar type|same dtype"):
        out.sum().backward()


def test_where_memory_is_short_an_error_says_so(monkeypatch):
    (x, maps, bias), arguments = drawn(CASES[0])
    monkeypatch.setattr(cpu, "library", lambda: dict.fromkeys(cpu.FUNCTIONS, lambda *args: 1))
    with pytest.raises(MemoryError, match="a weight map found no memory for what it packs"):
        layer(x, maps, bias, **arguments)


def test_functions_with_wrong_numbers_are_not_used():
    functions = cpu.library()
    assert cpu.are_right(functions)
    assert not cpu.are_right(functions | {"surgeon_products": lambda *args: 0})
    assert not cpu.are_right(functions | {"surgeon_filtered": lambda *args: 0})


@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_older_vector_instructions(capability):
    code = (
        "import pytest, torch; from surgeon.methods.weight_map import cpu; "
        "assert (cpu.library() is None) == (torch.backends.cpu.get_cpu_capability() == 'DEFAULT'); "
        f"raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', {__file__!r}, '-k', 'outputs_and_gradients']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
