"""One learned map on the input of a network."""

import copy
import pickle

import pytest
import torch
from torch import nn

from surgeon.errors import LayerError
from surgeon.methods.controls.input_scale_layer import InputScale


def test_identity_at_the_start_and_a_product_after():
    layer = InputScale(3, 4, 5)
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(layer(x), x) and layer.weight.shape == (3, 4, 5)
    layer.weight.data.copy_(torch.randn(3, 4, 5))
    out = layer(x)
    for n, c, i, j in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 3)):
        assert out[n, c, i, j] == x[n, c, i, j] * layer.weight[c, i, j]
    assert layer(x[:0]).shape == (0, 3, 4, 5)


def test_gradient():
    weight = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def run(x, w):
        return torch.func.functional_call(InputScale(2, 3, 3), {"weight": w}, (x,))

    assert torch.autograd.gradcheck(run, (x, weight))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtype_and_layout(dtype):
    x = torch.randn(2, 3, 4, 5).to(dtype).to(memory_format=torch.channels_last)
    out = InputScale(3, 4, 5).to(dtype)(x)
    assert torch.equal(out, x) and out.is_contiguous(memory_format=torch.channels_last)


def test_a_state_dict_without_the_map_loads_strictly():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), InputScale(1, 2, 2))
    model[1].weight.data.fill_(3)
    model.load_state_dict(nn.Sequential(nn.Conv2d(1, 1, 1)).state_dict(), strict=True)
    assert (model[1].weight == 3).all()
    model[1].load_state_dict({"weight": torch.zeros(1, 2, 2)})
    assert not model[1].weight.any()
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model[1].load_state_dict({"scale": torch.zeros(1, 2, 2)})


def test_resize_interpolates_and_says_so():
    layer = InputScale(3, 4, 4)
    before = torch.randn(3, 4, 4)
    layer.weight.data.copy_(before)
    with pytest.warns(
        UserWarning, match=r"input scale: maps learned at 4x4 were interpolated \(bicubic\) to 6x8"
    ):
        assert layer.resize(6, 8) is layer
    expected = nn.functional.interpolate(before[None], size=(6, 8), mode="bicubic", align_corners=False)[0]
    assert torch.equal(layer.weight, expected) and layer.weight.requires_grad
    assert layer(torch.randn(1, 3, 6, 8)).shape == (1, 3, 6, 8)


def test_copies_pickles_compiles_and_exports():
    torch._dynamo.reset()
    layer = InputScale(2, 3, 3)
    layer.weight.data.normal_()
    x = torch.randn(2, 2, 3, 3)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: InputScale(3, 0, 4), "an input scale of 3x0x4 is empty; every size must be at least 1"),
        (
            lambda: InputScale(3, 4, 5)(torch.ones(2, 3, 5, 4)),
            "the input scale is 3x4x5, got an input of shape (2, 3, 5, 4); expected (N, 3, 4, 5), or resize",
        ),
        (
            lambda: InputScale(3, 4, 5).resize(0, 5),
            "cannot resize maps to 0x5; both sides must be at least 1",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(LayerError) as caught:
        call()
    assert text in str(caught.value)
