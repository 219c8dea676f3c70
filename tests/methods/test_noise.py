"""Gaussian noise in training only."""

import copy
import pickle

import pytest
import torch

from surgeon.errors import LayerError
from surgeon.methods.controls.noise_layer import GaussianNoise
from surgeon.tensors.gaussian import add_noise


def test_noise_is_normal_with_sigma():
    x = torch.full((64, 3, 32, 32), 5.0)
    noise = GaussianNoise(0.25)(x) - x
    assert abs(noise.mean()) < 0.003 and abs(noise.std() - 0.25) < 0.003
    assert abs((noise.abs() < 0.25).float().mean() - 0.6827) < 0.005


def test_pixel_std_puts_sigma_in_pixel_units():
    pixel_std = (0.2, 0.5, 1.0)
    x = torch.zeros(64, 3, 32, 32)
    noise = GaussianNoise(0.1, pixel_std=pixel_std)(x)
    in_pixels = noise * torch.tensor(pixel_std).view(1, 3, 1, 1)
    for channel in range(3):
        assert abs(in_pixels[:, channel].std() - 0.1) < 0.002


def test_identity_in_evaluation_and_with_sigma_zero():
    x = torch.randn(2, 3, 4, 4)
    assert GaussianNoise(0.5).eval()(x) is x
    assert GaussianNoise(0.0)(x) is x


@pytest.mark.parametrize("pixel_std", [None, (0.2, 0.3, 0.4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_dtype_layout_and_gradient(dtype, pixel_std):
    layer = GaussianNoise(0.5, pixel_std=pixel_std)
    x = torch.randn(2, 3, 4, 4, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    out = layer(x)
    assert out.dtype == dtype and out.is_contiguous(memory_format=torch.channels_last)
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert layer(x[:0]).shape == (0, 3, 4, 4)


def test_state_dict_is_empty_and_copies_make_the_same_noise():
    layer = GaussianNoise(0.5, pixel_std=(0.2, 0.3, 0.4))
    assert not layer.state_dict() and not list(layer.parameters())
    x = torch.randn(2, 3, 4, 4)
    outs = []
    for twin in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.manual_seed(3)
        outs.append(twin(x))
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])


def test_compiles_and_exports():
    torch._dynamo.reset()
    layer = GaussianNoise(0.5, pixel_std=(0.2, 0.3, 0.4))
    x = torch.ones(64, 3, 32, 32)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x) - x
    assert torch.allclose(compiled.std((0, 2, 3)), 0.5 / torch.tensor([0.2, 0.3, 0.4]), rtol=0.02)
    assert compiled.mean().abs() < 0.05
    halves = torch.compile(lambda x: add_noise(x, torch.tensor(0.1)), backend="aot_eager")(x.bfloat16())
    assert halves.dtype == torch.bfloat16 and float(halves.std()) == pytest.approx(0.1, rel=0.02)
    assert torch.equal(torch.export.export(layer.eval(), (x,)).module()(x), x)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: GaussianNoise(-0.1),
            "sigma=-0.1 is not a standard deviation; it must be finite and at least 0",
        ),
        (lambda: GaussianNoise(float("nan")), "sigma=nan is not a standard deviation"),
        (lambda: GaussianNoise(0.1, pixel_std=(0.2, 0)), "pixel_std=(0.2, 0.0) must be one positive number"),
        (
            lambda: GaussianNoise(0.1, pixel_std=(1, 1, 1))(torch.ones(2, 1, 4, 4)),
            "pixel_std has 3 channels, got an input of shape (2, 1, 4, 4); expected (N, 3, ...)",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(LayerError) as caught:
        call()
    assert text in str(caught.value)


def test_one_image_without_a_batch_has_its_channels_first():
    layer = GaussianNoise(1.0, pixel_std=(0.5, 1.0, 4.0), spatial_dims=2).train()
    x = torch.zeros(3, 3, 4000)  # as high as it has channels
    deviation = layer(x).std((1, 2))
    assert torch.allclose(deviation, torch.tensor([2.0, 1.0, 0.25]), rtol=0.1), deviation
    assert layer(torch.zeros(2, 3, 5, 5)).shape == (2, 3, 5, 5)
    import surgeon

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3))
    cut = surgeon.apply(
        net,
        {"op": "noise", "sigma": 0, "input_sigma": 0.5, "pixel_std": [0.5, 1.0, 4.0]},
        input_size=(3, 8, 8),
    )
    assert cut.input_noise.spatial_dims == 2
