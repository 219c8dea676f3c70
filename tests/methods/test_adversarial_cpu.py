"""The adversarial noise's compiled way on a CPU, against eq. 4 in float64 and the layer's own way."""

import pytest
import torch

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise import class_cache, cpu, make_layer
from tests.methods.test_adversarial_gpu import eta_of

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="nothing can be compiled here")
EPS = torch.finfo(torch.float32).eps

SHAPES = [
    ((5, 6, 4, 7), torch.contiguous_format),
    ((5, 6, 4, 7), torch.channels_last),
    ((3, 17), torch.contiguous_format),
    ((2, 30, 20, 20), torch.channels_last),
    ((1, 3), torch.contiguous_format),
    ((40, 1), torch.contiguous_format),
    ((3, 4, 5, 6, 7), torch.contiguous_format),
]


def is_right(out, h, eta):
    """s(h) and the quotient cost some units of rounding of the noise, the sum one of its own."""
    expected = h.detach().double() + eta
    return bool(((out - expected).abs() <= EPS * expected.abs() + 16 * EPS * eta.abs()).all())


@pytest.mark.parametrize(("shape", "memory"), SHAPES, ids=str)
def test_each_sample_gets_its_own_gradients_noise(shape, memory):
    h, g = (torch.randn(shape).contiguous(memory_format=memory) * 3 + 5).requires_grad_(), torch.randn(shape)
    r = torch.rand(len(h)) * 0.5
    assert cpu.takes(h)
    out = cpu.perturbed(h, g, r)
    assert torch.equal(cpu.perturbed(h, torch._neg_view(-g), r), out)
    assert out.stride() == h.stride() and is_right(out, h, eta_of(h.detach(), g, r))
    (gradient,) = torch.autograd.grad(out, h, g)
    assert torch.equal(gradient, g)
    single = cpu.perturbed(h, g, r[:1])
    assert is_right(single, h, eta_of(h.detach(), g, r[:1].expand(len(h))))


def test_a_gradient_that_is_zero_or_not_finite_gives_no_noise():
    h, g = torch.randn(6, 6, 4), torch.randn(6, 6, 4)
    g[0], g[1, 2, 3], g[2, 0, 0], g[3], g[5, 1, 1] = 0, float("nan"), float("inf"), 1e-45, -float("inf")
    out = cpu.perturbed(h, g, torch.ones(6))
    assert torch.equal(out[:4], h[:4]) and torch.equal(out[5], h[5])
    assert not torch.equal(out[4], h[4]) and out.isfinite().all()
    assert cpu.perturbed(h.fill_(float("nan")), g, torch.ones(6)).isnan().all()


def test_a_mean_that_dwarfs_the_deviation():
    h, g, r = torch.randn(4, 30_000) * 1e-2 + 100, torch.randn(4, 30_000), torch.full((4,), 1000.0)
    eta, exact = cpu.perturbed(h, g, r) - h, eta_of(h, g, r)
    assert ((eta - exact).abs().max() / exact.abs().max()) < 1e-5


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_numbers_near_the_ends_of_float32(scale):
    h, g, r = torch.randn(4, 3000) * scale, torch.randn(4, 3000), torch.full((4,), 0.5)
    assert is_right(cpu.perturbed(h, g, r), h, eta_of(h, g, r))


@pytest.mark.parametrize("classes", [3, 20])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_cache_of_classes(memory, classes):
    h, r = torch.randn(7, 4, 3, 5).contiguous(memory_format=memory), torch.rand(7)
    labels, rank = torch.randint(0, classes, (7,)), torch.randperm(7)
    ours, theirs = (torch.randn(classes, 4, 3, 5).contiguous(memory_format=memory) for _ in range(2))
    theirs.copy_(ours)
    gradient = torch.randn(7, 4, 3, 5)
    cpu.remember(ours, gradient, labels, rank)
    class_cache.write(theirs, gradient, labels, rank)
    assert torch.equal(ours, theirs) and ours.stride() == theirs.stride()
    assert is_right(cpu.perturbed(h, ours, r, labels), h, eta_of(h, ours[labels], r))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("source", ["anl", "canl"])
def test_a_layer_is_the_layer_of_torchs_operations(monkeypatch, source, per_sample, memory):
    layers = [
        make_layer(
            source, 0.3, num_classes=4 if source == "canl" else None, seed=7, per_sample=per_sample
        ).train()
        for _ in range(2)
    ]
    takes = cpu.takes
    for _ in range(3):
        h, g = torch.randn(9, 6, 5, 5).contiguous(memory_format=memory), torch.randn(9, 6, 5, 5)
        labels, outs = torch.randint(0, 4, (9, 2))[:, 0], []  # not side by side
        for layer, own in zip(layers, (takes, lambda *given: False), strict=True):
            monkeypatch.setattr(cpu, "takes", own)
            x = h.clone(memory_format=torch.preserve_format).requires_grad_()
            if source == "anl":
                layer.enter("record")
                layer(x * 1)
                layer.set_gradient(g)
            layer.enter("perturb")
            if layer.needs_labels:
                layer.set_labels(labels)
            out = layer(x)
            out.backward(g)
            outs.append((out, x.grad))
        (ours, of_ours), (theirs, of_theirs) = outs
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6) and torch.equal(of_ours, of_theirs)
        assert ours.stride() == theirs.stride()
    if source == "canl":
        assert torch.equal(layers[0].cache, layers[1].cache)


def test_labels_and_magnitudes_that_do_not_fit_are_refused():
    h, cache, labels = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([0, 4, 5])
    with pytest.raises(LayerError, match="labels are not among the classes of the cache"):
        cpu.perturbed(h, cache, torch.ones(3), labels)
    with pytest.raises(LayerError, match="labels are not among the classes of the cache"):
        cpu.remember(cache, h, labels - 1 - torch.tensor([0, 0, 5]), torch.arange(3))
    freed = torch.randn(3, 4)
    freed.untyped_storage().resize_(0)
    for g, y in ((freed, None), (cache, labels[:2])):
        with pytest.raises(LayerError, match="memory was freed, or labels of another batch"):
            cpu.perturbed(h, g, torch.ones(3), y)
    with pytest.raises(LayerError, match="2 magnitudes and gradients of"):
        cpu.perturbed(h, torch.randn(3, 4), torch.ones(2))


@pytest.mark.parametrize("change", ["in place", "fewer classes"])
def test_labels_that_change_after_they_were_given_are_refused(change):
    layer = make_layer("canl", 0.3, num_classes=4, seed=7).train()
    layer.enter("perturb")
    labels, h = torch.tensor([0, 1, 3]), torch.randn(3, 4, requires_grad=True)
    layer.set_labels(labels)
    if change == "in place":
        out = layer(h)
        labels.fill_(1 << 20)
        with pytest.raises(LayerError, match="labels are not among the classes"):
            out.sum().backward()
    else:
        layer.num_classes = 2
    with pytest.raises(LayerError, match="labels are not among the classes"):
        layer(h)


def test_gradients_that_hooks_changed_are_cached_as_torch_does():
    cache, labels = torch.zeros(5, 4), torch.tensor([0, 4, 1])
    cpu.remember(cache, torch.ones(3, 4, dtype=torch.float64), labels, torch.arange(3))
    assert torch.equal(cache.sum(1), torch.tensor([4.0, 4, 0, 0, 4]))


def test_any_number_of_threads_gives_the_same_bits():
    h, g, r, outs = torch.randn(9, 5000), torch.randn(9, 5000), torch.rand(9), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            outs.append(cpu.perturbed(h, g, r))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])


def test_what_is_taken():
    h = torch.randn(2, 3, 4, 4)
    assert cpu.takes(h) and cpu.takes(h, torch.zeros(5, 3, 4, 4))
    for other in (h.double(), h.bfloat16(), h.to("meta"), h[:0], h.transpose(1, 2), torch._neg_view(h)):
        assert not cpu.takes(other)
    assert not cpu.takes(h, torch.zeros(5, 3, 4, 4, dtype=torch.float16))
    seen = []
    torch.func.vmap(lambda z: seen.append(cpu.takes(h)) or z)(h)
    assert seen == [False]


def test_functions_with_wrong_numbers_are_not_used(monkeypatch):
    functions = cpu.library()
    assert cpu.are_right(functions)
    for name in functions:
        assert not cpu.are_right(functions | {name: lambda *args: 0})
    monkeypatch.setattr(cpu, "library", lambda: dict.fromkeys(functions, lambda *args: 1))
    with pytest.raises(MemoryError, match="adversarial noise found no memory for its statistics"):
        cpu.perturbed(torch.randn(2, 3), torch.randn(2, 3), torch.ones(2))
