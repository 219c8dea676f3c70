"""A recipe's constants are no state: what empties, moves or assigns tensors has no values for them."""

import copy
import pickle

import pytest
import torch

from surgeon.methods.controls.noise_layer import GaussianNoise
from surgeon.methods.kap.module import KernelAveragePool


def _emptied(layer):
    values = {k: v.clone() for k, v in layer.state_dict().items()}
    other = copy.deepcopy(layer).to("meta").to_empty(device="cpu")
    other.load_state_dict(values)
    return other


def _assigned(layer):
    other = copy.deepcopy(layer).to("meta")
    other.load_state_dict({k: v.clone() for k, v in layer.state_dict().items()}, assign=True)
    return other


def _one_by_one(layer):
    """As accelerate puts a checkpoint into a network on the meta device."""
    other = copy.deepcopy(layer).to("meta")
    for name, value in layer.state_dict().items():
        other._buffers[name] = value.clone()
    return other


def _in_place(layer):
    """As DistributedDataParallel sends the buffers of its first process."""
    other = copy.deepcopy(layer)
    other.set_order(torch.arange(16)) if hasattr(layer, "order") else None
    other(torch.zeros(1, 16 if hasattr(layer, "order") else 3, 2, 2))
    for name, value in layer.named_buffers():
        other.get_buffer(name).copy_(value)
    return other


WAYS = {
    "in place": _in_place,
    "emptied": _emptied,
    "assigned": _assigned,
    "one by one": _one_by_one,
    "pickled": lambda layer: pickle.loads(pickle.dumps(layer)),
}


@pytest.mark.parametrize("way", WAYS)
def test_noise_keeps_its_strength(way):
    layer = GaussianNoise(0.5, pixel_std=(0.2, 0.3, 0.4))
    x, other = torch.zeros(4, 3, 8, 8), WAYS[way](layer)
    torch.manual_seed(0)
    wanted = layer(x)
    torch.manual_seed(0)
    assert torch.equal(other(x), wanted)


@pytest.mark.parametrize("way", WAYS)
def test_pooling_keeps_the_way_back_from_its_order(way):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    layer = KernelAveragePool(16, 3, order=order).eval()
    x = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    other = WAYS[way](layer)
    assert torch.equal(other(x), layer(x)) and torch.equal(other.matrix(), layer.matrix())
    assert torch.equal(other.fold(x.transpose(0, 1)), layer.fold(x.transpose(0, 1)))


def test_noise_in_double_precision_is_as_exact_as_its_constants():
    layer = GaussianNoise(0.5, pixel_std=(0.1, 0.3)).double()
    x = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    torch.manual_seed(0)
    found = layer(x)
    torch.manual_seed(0)
    drawn = torch.empty_like(x).normal_()
    wanted = drawn * 0.5 / torch.tensor([0.1, 0.3], dtype=torch.float64).view(1, 2, 1, 1)
    assert torch.allclose(found, wanted, rtol=1e-14)


def test_compiled_and_exported_with_an_order():
    torch._dynamo.reset()
    layer = KernelAveragePool(16, 3, order=torch.randperm(16)).eval()
    x = torch.randn(2, 16, 4, 4)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    exported = torch.export.export(layer, (x,))
    for made in (compiled, exported.module()):
        assert torch.allclose(made(x), layer(x), atol=1e-6)
    assert not [n for n in exported.graph.nodes if "sort" in str(n.target)]
