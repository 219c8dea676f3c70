"""The adversarial noise's kernels for a GPU, against eq. 4 in float64 and the layer's own way."""

import pytest
import torch

from surgeon.methods.adversarial_noise import class_cache, make_layer
from surgeon.methods.adversarial_noise import gpu as adversarial_gpu
from surgeon.methods.adversarial_noise.sending import send
from tests.methods.kernels import DEVICE, DTYPES, TOLERANCE, needs_gpu, needs_kernels, off
from tests.reference import adversarial_noise as reference

SHAPES = [
    ((5, 6, 4, 7), torch.contiguous_format),
    ((5, 6, 4, 7), torch.channels_last),
    ((3, 17), torch.contiguous_format),
    ((2, 30, 20, 20), torch.channels_last),
    ((1, 3), torch.contiguous_format),
]


def drawn(shape, memory, dtype):
    return torch.randn(shape).to(DEVICE, dtype).contiguous(memory_format=memory)


def eta_of(h, g, r):
    """eq. 4, in float64."""
    h, g, r = h.double(), g.double(), r.double().to(h.device)
    peak = g.abs().flatten(1).amax(1)
    shape = (-1, *[1] * (h.dim() - 1))
    return (r * h.std(correction=0) / peak).view(shape) * g


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "memory"), SHAPES, ids=str)
def test_each_sample_gets_its_own_gradients_noise(shape, memory, dtype):
    h, g = drawn(shape, memory, dtype), drawn(shape, torch.contiguous_format, dtype)
    h = (h * 3 + 5).requires_grad_()
    r = torch.rand(len(h)) * 0.5
    out = adversarial_gpu.perturbed(h, g, r)
    assert out.stride() == h.stride() and out.dtype == dtype
    assert off(out, h.double() + eta_of(h, g, r)) < TOLERANCE[dtype]
    (gradient,) = torch.autograd.grad(out, h, g)
    assert torch.equal(gradient, g)
    single = adversarial_gpu.perturbed(h, g, r[:1])
    assert off(single, h.double() + eta_of(h, g, r[:1].expand(len(h)))) < TOLERANCE[dtype]


@needs_kernels
def test_no_noise_from_a_gradient_that_is_none():
    h, g = (drawn((5, 6, 4), torch.contiguous_format, torch.float32) for _ in range(2))
    g[0], g[1, 2, 3], g[2, 0, 0], g[3] = 0, float("nan"), float("inf"), 1e-45
    out = adversarial_gpu.perturbed(h, g, torch.ones(5))
    assert torch.equal(out[:4], h[:4]) and not torch.equal(out[4], h[4]) and out.isfinite().all()
    assert torch.equal(adversarial_gpu.perturbed(h.fill_(float("nan")), g, torch.ones(5)).isnan(), h.isnan())


@needs_kernels
def test_a_mean_that_dwarfs_the_deviation():
    h = drawn((4, 3000), torch.contiguous_format, torch.float32) * 1e-2 + 100
    g = drawn((4, 3000), torch.contiguous_format, torch.float32)
    eta = adversarial_gpu.perturbed(h, g, torch.full((4,), 1000.0)) - h
    assert off(eta, eta_of(h, g, torch.full((4,), 1000.0))) < 1e-3


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [3, 20])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_cache_of_classes(memory, classes, dtype):
    h, r = drawn((7, 4, 3, 5), memory, dtype), torch.rand(7)
    labels = torch.randint(0, classes, (7,)).to(DEVICE)
    rank = torch.randperm(7).to(DEVICE)
    cache = torch.zeros(classes, 4, 3, 5, device=DEVICE, dtype=dtype).contiguous(memory_format=memory)
    gradient = drawn((7, 4, 3, 5), torch.contiguous_format, dtype)
    (speaking,) = class_cache.speakers(labels, rank.unsqueeze(0), classes)
    adversarial_gpu.remember(cache, gradient, labels, speaking)
    for label in range(classes):
        own = [n for n in range(7) if labels[n] == label]
        if not own:
            assert not cache[label].any()
            continue
        row = gradient[max(own, key=lambda n: rank[n])].double()
        assert off(cache[label], row if dtype != torch.float16 else row / row.abs().max()) < TOLERANCE[dtype]
    out = adversarial_gpu.perturbed(h, cache, r, labels)
    assert off(out, h.double() + eta_of(h, cache[labels], r)) < TOLERANCE[dtype]


def test_the_reference_says_so_too():
    h, g, r = (
        torch.randn(3, 4, 5),
        torch.randn(3, 4, 5),
        torch.rand(3),
    )  # eta_of is what the kernels are held against
    assert off(eta_of(h, g, r), reference.eta(g, reference.standard_deviation(h), r)) < 1e-6


def a_layer(source, **more):
    return make_layer(source, 0.3, num_classes=4 if source == "canl" else None, seed=7, **more).train()


@needs_gpu
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("source", ["anl", "canl"])
def test_a_layer_on_a_gpu_is_the_layer_on_a_cpu(source, per_sample, memory):
    layers = [a_layer(source, per_sample=per_sample) for _ in range(2)]
    for step in range(3):
        h, g = torch.randn(9, 6, 5, 5), torch.randn(9, 6, 5, 5)
        labels = torch.randint(0, 4, (9, 2))[:, 0]  # not side by side
        outs = []
        for layer, device in zip(layers, ("cpu", "cuda"), strict=True):
            x = h.to(device).contiguous(memory_format=memory).requires_grad_()
            if source == "anl":
                layer.enter("record")
                layer(x * 1)
                layer.set_gradient(g.to(device))
            layer.enter("perturb")
            if layer.needs_labels:
                layer.set_labels(labels.to(device))
            out = layer(x * 1)
            out.backward(g.to(device))
            outs.append(out.detach().cpu())
        assert off(outs[1], outs[0]) < 1e-6
        assert source == "anl" or step == 0 or not torch.equal(outs[0], h)
    if source == "canl":
        assert torch.equal(layers[1].cache.cpu(), layers[0].cache)


@needs_gpu
@pytest.mark.parametrize("source", ["anl", "canl"])
def test_what_is_sent_at_once_is_what_each_would_send(source):
    outs = []
    for together in (False, True):
        torch.manual_seed(1)
        layers = [a_layer(source), a_layer(source, per_sample=False)]
        h, g = torch.randn(2, 9, 6, 5, 5).cuda().requires_grad_()
        labels = torch.randint(0, 4, (9,)).cuda()
        for _ in range(2):
            for layer in layers:
                if source == "anl":
                    layer.enter("record")
                    layer(h * 1)
                    layer.set_gradient(g.detach())
                layer.enter("perturb")
                if layer.needs_labels:
                    layer.set_labels(labels)
            if together:
                send([layer.batch for layer in layers], labels)
            out = layers[1](layers[0](h * 1))
            out.backward(g.detach())
        outs.append(out)
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], h)


def test_the_highest_rank_speaks_for_its_class():
    labels, ranks = torch.tensor([2, 0, 2, 2]), torch.tensor([[3, 0, 2, 1], [0, 1, 2, 3]])
    assert class_cache.speakers(labels, ranks, 5).tolist() == [[1, -1, 0, -1, -1], [1, -1, 3, -1, -1]]
    assert class_cache.speakers(labels[:0], ranks[:, :0], 2).tolist() == [[-1, -1], [-1, -1]]
