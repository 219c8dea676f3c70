"""Defective convolutions: the mask and the layer that applies it."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import LayerError
from surgeon.methods.defective.maths import defective_mask
from surgeon.methods.defective.module import DefectiveMask

MODES = ["neuron", "same", "channel"]


def drawn(shape, keep, mode, seed=0):
    return defective_mask(shape, keep, mode=mode, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (16, 4, 4), (13, 1, 3)])
@pytest.mark.parametrize("keep", [0, 0.1, 0.3, 0.5, 0.7, 1])
def test_exactly_the_stated_number_is_kept(shape, keep, mode):
    mask = drawn(shape, keep, mode)
    c, h, w = shape
    assert mask.shape == shape and mask.dtype == torch.bool and mask.is_contiguous()
    per = {"neuron": c * h * w, "same": h * w, "channel": c}[mode]
    times = {"neuron": 1, "same": c, "channel": h * w}[mode]
    assert int(mask.sum()) == round(keep * per) * times
    if mode == "same":
        assert all(torch.equal(mask[0], one) for one in mask)
    if mode == "channel":
        assert torch.equal(mask, mask[:, :1, :1].expand(shape))


@pytest.mark.parametrize("mode", MODES)
def test_masks_are_nested(mode):
    masks = [drawn((8, 6, 5), keep / 20, mode) for keep in range(21)]
    for smaller, larger in itertools.pairwise(masks):
        assert (smaller <= larger).all()
    assert not masks[0].any() and masks[-1].all()


def test_every_neuron_is_kept_alike_and_seeds_differ():
    share = torch.stack([drawn((2, 3, 4), 0.25, "neuron", seed) for seed in range(2000)]).double().mean(0)
    assert (share - 0.25).abs().max() < 0.05
    assert torch.equal(drawn((4, 4, 4), 0.5, "neuron", 7), drawn((4, 4, 4), 0.5, "neuron", 7))
    assert not torch.equal(drawn((4, 4, 4), 0.5, "neuron", 7), drawn((4, 4, 4), 0.5, "neuron", 8))


@pytest.mark.parametrize("value", [0.0, -1.5])
@pytest.mark.parametrize("mode", MODES)
def test_masked_neurons_give_the_constant(mode, value):
    layer = DefectiveMask(4, 3, 5, 0.4, mode=mode, value=value, seed=2)
    mask = drawn((4, 3, 5), 0.4, mode, 2)
    x = torch.randn(6, 4, 3, 5)
    for module in (layer.train(), layer.eval()):
        out = module(x)
        assert torch.equal(out[:, mask], x[:, mask])
        assert (out[:, ~mask] == value).all() and out[:, ~mask].numel()


def test_a_broken_value_does_not_leak_through_the_mask():
    layer = DefectiveMask(1, 2, 2, 0.5)
    out = layer(torch.full((1, 1, 2, 2), float("nan")))
    assert out.isnan().sum() == 2 and (out == 0).sum() == 2


def test_gradient_and_an_inplace_activation_after_it():
    layer = DefectiveMask(2, 3, 3, 0.5, value=0.7)
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    torch.relu_(layer(x)).sum().backward()
    assert torch.equal(x.grad, (layer.mask & (x > 0)).double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_layout_and_empty_batch(dtype):
    layer = DefectiveMask(4, 3, 5, value=0.3)
    x = torch.randn(2, 4, 3, 5).to(dtype).to(memory_format=torch.channels_last)
    out = layer(x)
    assert out.dtype == dtype and out.is_contiguous(memory_format=torch.channels_last)
    sliced = torch.randn(4, 8, 3, 5)[::2, ::2]
    assert torch.equal(layer(sliced), layer(sliced.contiguous()))
    assert layer(x[:0]).shape == (0, 4, 3, 5)


def test_set_keep_anneals_through_nested_masks():
    layer = DefectiveMask(8, 4, 4, 1.0, seed=3)
    before = layer.mask
    last = layer.mask.clone()
    for keep in (0.9, 0.5, 0.1):
        layer.set_keep(keep)
        assert layer.mask is before and layer.keep == keep
        assert (layer.mask <= last).all() and int(layer.mask.sum()) == round(keep * 128)
        last = layer.mask.clone()
    layer.set_keep(0.6)
    assert torch.equal(layer.mask, drawn((8, 4, 4), 0.6, "neuron", 3))


def test_the_mask_is_saved_and_may_be_missing():
    source, target = DefectiveMask(4, 3, 3, 0.25, seed=1), DefectiveMask(4, 3, 3, 0.5, seed=2)
    assert list(source.state_dict()) == ["mask"] and not list(source.parameters())
    target.load_state_dict({}, strict=True)
    assert torch.equal(target.mask, drawn((4, 3, 3), 0.5, "neuron", 2))
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.mask, source.mask) and target.keep == 0.25
    with pytest.raises(LayerError, match=r"does not come from seed=2, so keep=0.5 would not be nested"):
        target.set_keep(0.5)
    with pytest.raises(RuntimeError, match="size mismatch"):
        DefectiveMask(4, 3, 4).load_state_dict(source.state_dict())


def test_stock_state_dict_loads_strictly():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), DefectiveMask(4, 3, 3))
    model.load_state_dict(nn.Sequential(nn.Conv2d(1, 4, 3)).state_dict(), strict=True)


def test_making_one_leaves_the_global_random_stream():
    before = torch.get_rng_state()
    DefectiveMask(4, 3, 3).set_keep(0.2)
    assert torch.equal(torch.get_rng_state(), before)


def test_copies_pickles_compiles_and_exports():
    torch._dynamo.reset()
    layer = DefectiveMask(4, 3, 3, value=1.0)
    x = torch.randn(2, 4, 3, 3)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x)) and twin.mask.data_ptr() != layer.mask.data_ptr()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), layer(x))
    layer.set_keep(0.1)
    assert torch.equal(compiled(x), layer(x))
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    longer = torch.randn(5, 4, 3, 3)
    assert torch.equal(program.module()(longer), layer(longer))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: defective_mask((2, 2, 2), 1.1),
            "keep=1.1 is outside [0, 1]; it is the share of neurons that work",
        ),
        (lambda: DefectiveMask(2, 2, 2).set_keep(-0.1), "keep=-0.1 is outside [0, 1]"),
        (
            lambda: defective_mask((2, 2, 2), 0.5, mode="row"),
            "mode='row' is not known; 'neuron', 'same' and 'channel'",
        ),
        (lambda: defective_mask((2, 2), 0.5), "shape=(2, 2) is not (C, H, W) with every size at least 1"),
        (lambda: DefectiveMask(0, 2, 2), "shape=(0, 2, 2) is not (C, H, W)"),
        (
            lambda: DefectiveMask(4, 3, 5)(torch.ones(2, 4, 5, 3)),
            "this mask is 4x3x5, got an input of shape (2, 4, 5, 3); expected (N, 4, 3, 5)",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(LayerError) as caught:
        call()
    assert text in str(caught.value)


def test_the_least_important_neurons_go_first_and_masks_are_nested():
    torch.manual_seed(0)
    importance = torch.rand(3, 4, 4)
    for mode, axes in (("neuron", ()), ("same", (0,)), ("channel", (1, 2))):
        layer = DefectiveMask(3, 4, 4, 0.5, mode=mode, chosen=True)
        layer.choose(importance)
        weight = (importance.sum(axes, keepdim=True) if axes else importance).expand(3, 4, 4)
        assert layer.mask.float().mean() == pytest.approx(0.5, abs=0.2)
        assert float(weight[layer.mask].min()) >= float(weight[~layer.mask].max())
        half = layer.mask.clone()
        layer.set_keep(0.25)
        assert not (layer.mask & ~half).any() and layer.mask.sum() < half.sum()
        twin = DefectiveMask(3, 4, 4, 0.5, mode=mode, chosen=True, seed=5)
        twin.load_state_dict(layer.state_dict())
        twin.set_keep(0.5)
        assert torch.equal(twin.mask, half)


def test_a_choice_that_cannot_be_made_is_refused():
    with pytest.raises(LayerError, match="chosen=True"):
        DefectiveMask(3, 4, 4).choose(torch.rand(3, 4, 4))
    with pytest.raises(LayerError, match=r"expected \(3, 4, 4\)"):
        DefectiveMask(3, 4, 4, chosen=True).choose(torch.rand(3, 4))


def test_masks_are_those_of_a_permutation_in_64_bits():
    for shape in ((3, 17, 19), (64, 40, 40)):
        found = defective_mask(shape, 0.3, generator=torch.Generator().manual_seed(5))
        count = found.numel()
        order = torch.randperm(count, generator=torch.Generator().manual_seed(5))
        assert torch.equal(found.flatten().nonzero().flatten(), order[: round(0.3 * count)].sort().values)


def test_the_mask_lies_as_its_network_is_told_to(tiny):
    layer = DefectiveMask(4, 3, 5, chosen=True)
    mask, rank = layer.mask.clone(), layer.rank.clone()
    layer.to(memory_format=torch.channels_last)
    assert layer.mask.stride() == (1, 20, 4)
    assert torch.equal(layer.mask, mask) and torch.equal(layer.rank, rank)
    x = torch.randn(2, 4, 3, 5).to(memory_format=torch.channels_last)
    assert layer._laid(x).data_ptr() == layer.mask.data_ptr()  # nothing is copied
    layer.set_keep(0.25)
    assert layer.mask.stride() == (1, 20, 4)
    layer.to(memory_format=torch.contiguous_format)
    assert layer.mask.is_contiguous()
    assert layer.half().mask.dtype == torch.bool

    assert layer.float().mask is layer.mask and layer.to(memory_format=torch.channels_last).mask is layer.mask
    around = nn.Sequential(layer, nn.Flatten()).to(memory_format=torch.channels_last)
    flat = torch.compile(
        lambda x: around(x.contiguous()).view(2, -1), backend="aot_eager"
    )  # `view` needs what it got
    assert torch.equal(flat(x), torch.where(layer.mask, x, 0).flatten(1))

    turned = surgeon.apply(tiny.to(memory_format=torch.channels_last), "defective", input_size=(3, 8, 8))
    masks = [m.mask for m in turned.modules() if isinstance(m, DefectiveMask)]
    assert masks and not any(m.is_contiguous() for m in masks)
    again = surgeon.apply(tiny.to(memory_format=torch.contiguous_format), "defective", input_size=(3, 8, 8))
    assert all(m.mask.is_contiguous() for m in again.modules() if isinstance(m, DefectiveMask))
