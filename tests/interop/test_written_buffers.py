"""Buffers of inserted layers that other code writes: averages of weights, functional calls, plain copies."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel

import surgeon
from surgeon.methods.defective.module import DefectiveMask
from surgeon.methods.kap import KernelAveragePool
from surgeon.methods.weight_map import WeightMap2d, WeightMapBlend
from surgeon.tensors.known_value import KnownValue

SIZE = (3, 12, 12)


def kap():
    return KernelAveragePool(16, 3)


def blend():
    conv = nn.Conv2d(16, 16, 3, padding=1)
    return WeightMapBlend(conv, WeightMap2d(16, 16, (6, 6), 3, padding=1))


def in_place(layer, value, x):
    layer.alpha.copy_(torch.tensor(value))
    return layer(x)


def by_data(layer, value, x):
    layer.alpha.data.fill_(value)
    return layer(x)


def called(layer, value, x):
    return torch.func.functional_call(layer, {"alpha": torch.tensor(value)}, (x,))


def loaded(layer, value, x):
    layer.load_state_dict(layer.state_dict() | {"alpha": torch.tensor(value)}, assign=True)
    return layer(x)


def mapped(layer, value, x):
    values = torch.tensor([0.0, value])
    return torch.func.vmap(lambda a: torch.func.functional_call(layer, {"alpha": a}, (x,)))(values)[1]


def compiled(layer, value, x):
    run = torch.compile(layer, backend="eager", fullgraph=True)
    run(x)
    layer.alpha.fill_(value)
    return run(x)


def exported(layer, value, x):
    layer.alpha.fill_(value)
    return torch.export.export(layer, (x,)).module()(x)


@pytest.mark.parametrize("write", [in_place, by_data, called, loaded, mapped, compiled, exported])
@pytest.mark.parametrize("make", [kap, blend])
@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_a_share_that_was_written_is_the_share_that_is_used(make, write, value):
    torch.manual_seed(0)
    layer, x = make().double(), torch.randn(2, 16, 6, 6, dtype=torch.float64)
    wanted = copy.deepcopy(layer)
    one, other = (x, wanted(x)) if make is kap else (wanted.conv(x), wanted.map(x))
    layer(x), layer(x)
    torch.testing.assert_close(write(layer, value, x), (1 - value) * one + value * other)


def test_a_share_that_is_trained_has_a_gradient_at_one():
    layer, x = kap(), torch.randn(2, 16, 6, 6)
    alpha = torch.ones((), requires_grad=True)
    torch.func.functional_call(layer, {"alpha": alpha}, (x,)).square().sum().backward()
    assert alpha.grad is not None and float(alpha.grad.abs()) > 1


def test_an_average_of_an_annealed_network_is_that_of_its_tensors():
    stock = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3))
    cut = surgeon.apply(stock, "kap", input_size=SIZE).eval()
    ema = ModelEmaV3(cut, decay=0.5)
    for layer in cut.modules():
        if hasattr(layer, "set_alpha"):
            layer.set_alpha(0.0)
    for _ in range(3):
        ema.update(cut)
    again = copy.deepcopy(cut)
    again.load_state_dict(ema.module.state_dict())
    x = torch.randn(2, *SIZE)
    assert torch.equal(ema.module(x), again(x))
    assert not torch.allclose(again(x), surgeon.apply(stock, "kap", input_size=SIZE).eval()(x))
    mean = AveragedModel(cut, use_buffers=True)
    mean.update_parameters(cut)
    torch.testing.assert_close(mean(x), cut(x))


class OnDevice:
    """A buffer's stand-in on a device that is slow to answer: it counts how often it was waited for."""

    def __new__(cls, value):
        class Slow(torch.Tensor):
            waited = 0
            is_cpu = False

            def item(self):
                type(self).waited += 1
                return super().item()

        return torch.tensor(value).as_subclass(Slow)


def test_a_device_is_waited_for_once_and_not_where_each_call_is_written_before(monkeypatch):
    buffer = OnDevice(1.0)
    monkeypatch.setattr("surgeon.tensors.known_value._PLAIN", (type(buffer),))
    known = KnownValue(1.0)
    assert [known.of(buffer) for _ in range(4)] == [None, 1.0, 1.0, 1.0] and type(buffer).waited == 1
    for _ in range(4):
        buffer.fill_(0.5)
        assert known.of(buffer) is None
    assert type(buffer).waited == 1
    assert known.of(buffer) == 0.5 and type(buffer).waited == 2
    known.set(buffer.fill_(0.25), 0.25)
    assert known.of(buffer) == 0.25 and type(buffer).waited == 2


def test_a_mask_that_was_written_has_the_share_that_it_has():
    one, other = DefectiveMask(4, 4, 4, 0.5), DefectiveMask(4, 4, 4, 0.25)
    assert one.keep == 0.5 and copy.deepcopy(one).keep == 0.5
    one.mask.copy_(other.mask)
    assert one.keep == 0.25 and "keep=0.25" in repr(one)
    one.set_keep(0.125)
    assert one.keep == 0.125


@pytest.mark.parametrize("made", [kap, blend])
def test_a_share_of_another_shape_is_told_as_torch_tells_it(made):
    layer = made()
    with pytest.raises(RuntimeError, match="size mismatch for alpha"):
        layer.load_state_dict(layer.state_dict() | {"alpha": torch.ones(2)})


@pytest.mark.parametrize("made", [kap, blend])
def test_a_loaded_share_outside_of_its_bounds_is_told(made):
    layer = made()
    with pytest.raises(RuntimeError, match=r"alpha: alpha=1.5 is outside \[0, 1\]: 0 "):
        layer.load_state_dict(layer.state_dict() | {"alpha": torch.tensor(1.5)})
