"""Adversarial layers where they do nothing, in copies, in other precisions, empty and compiled."""

import copy
import pickle

import pytest
import torch
from torch import nn

from surgeon.methods.adversarial_noise import ANL, CANL, make_layer
from tests.methods.adversarial import ALL


@pytest.mark.parametrize(("source", "kwargs"), ALL)
def test_identity_in_evaluation_when_disabled_and_when_idle(source, kwargs):
    layer = make_layer(source, 0.5, **kwargs)
    h = torch.randn(4, 3, requires_grad=True)
    for phase in ("record", "perturb"):
        layer.enter(phase)
        layer.eval()
        assert layer(h) is h
        layer.train()
        layer.enabled = False
        assert layer(h) is h
        layer.enabled = True
    layer.enter("idle")
    assert layer(h) is h


@pytest.mark.parametrize(("source", "kwargs"), ALL)
def test_nothing_in_the_state_dict_even_after_training(source, kwargs):
    layer = used(source, kwargs)
    assert not layer.state_dict() and not list(layer.parameters()) and not list(layer.buffers())
    layer.load_state_dict({}, strict=True)


def used(source, kwargs):
    """A layer in the middle of a step: recorded tensors, hooks, cache and a random stream that has moved."""
    layer = make_layer(source, 0.5, momentum=0.1, seed=1, **kwargs)
    h = torch.randn(4, 3, requires_grad=True) * 2
    if source == "anl":
        layer.enter("record")
        layer(h)
        layer.set_gradient(torch.randn(4, 3))
        layer.enter("perturb")
        layer(h)
        layer.enter("record")
        layer(h)
        return layer
    layer.enter("perturb")
    if layer.needs_labels:
        layer.set_labels(torch.tensor([0, 1, 2, 0]))
    layer(h).sum().backward()
    layer(torch.randn(4, 3, requires_grad=True) * 2)
    return layer


@pytest.mark.parametrize("how", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize(("source", "kwargs"), ALL)
def test_copies_and_pickles_in_the_middle_of_a_step(source, kwargs, how):
    layer = used(source, kwargs)
    twin = how(layer)
    assert (twin.batch.recorded, twin.batch.gradient, twin.batch.labels) == (None, None, None)
    assert twin.phase == layer.phase
    if source == "canl":
        assert layer.cache.any() and torch.equal(twin.cache, layer.cache)
        assert twin.cache.data_ptr() != layer.cache.data_ptr()
    if source == "lat":
        assert torch.equal(twin.previous, layer.previous)
    if source in ("anl", "canl"):
        assert torch.equal(twin.running_std, layer.running_std)
        assert torch.equal(twin.draw(9), layer.draw(9))
        before = layer._generator.get_state()
        twin.draw(3)
        assert torch.equal(layer._generator.get_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("source", "kwargs"), ALL)
def test_half_precision_and_channels_last(source, kwargs, dtype):
    layer = make_layer(source, 0.5, **kwargs)
    leaf = torch.randn(3, 4, 5, 5).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    for _ in range(2):
        h = leaf * 1
        if source == "anl":
            layer.enter("record")
            out = layer(h)
            layer.set_gradient(torch.autograd.grad(out.float().square().sum(), layer.batch.recorded)[0])
        layer.enter("perturb")
        if layer.needs_labels:
            layer.set_labels(torch.arange(3))
        out = layer(h)
        assert out.dtype == dtype and out.is_contiguous(memory_format=torch.channels_last)
        out.float().square().sum().backward()
    assert not torch.equal(out, h) and out.isfinite().all()


@pytest.mark.parametrize(("source", "kwargs"), ALL)
@pytest.mark.parametrize("phase", ["record", "perturb"])
def test_empty_batch_and_no_grad(source, kwargs, phase):
    layer = make_layer(source, 0.5, **kwargs)
    layer.enter(phase)
    empty = torch.randn(0, 3)
    assert layer(empty) is empty
    if source != "anl" or phase == "record":
        if layer.needs_labels:
            layer.set_labels(torch.arange(3))
        with torch.no_grad():
            out = layer(torch.randn(3, 2))
        assert out.shape == (3, 2)
        assert source != "lat" or layer.previous is None


@pytest.mark.parametrize(("source", "kwargs"), ALL)
def test_compiles_and_exports_where_it_is_the_identity(source, kwargs):
    torch._dynamo.reset()
    net = nn.Sequential(nn.Linear(3, 3), make_layer(source, **kwargs), nn.ReLU(inplace=True)).eval()
    x = torch.randn(4, 3)
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="aot_eager")(x), net(x))
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x))
    net.train()
    net[1].enter("idle")
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="aot_eager")(x), net(x))


def test_round_two_compiles():
    torch._dynamo.reset()
    layer = ANL(0.5)
    layer.enter("perturb")
    layer.set_gradient(torch.randn(4, 3))
    h = torch.randn(4, 3)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(h), layer(h))


def test_an_abandoned_forward_does_not_disturb_the_next_shape():
    layer = CANL(num_classes=2)
    layer.enter("perturb")
    layer.set_labels(torch.tensor([0, 1]))
    old = layer(torch.randn(2, 3, requires_grad=True))
    layer(torch.randn(2, 5, requires_grad=True)).sum().backward()
    old.sum().backward()
    assert layer.cache.shape == (2, 5) and layer.cache.all()
