"""The round that finds ANL's gradients draws the noise that the step then trains on, in `fit` as in other loops."""

import pytest
import torch

import surgeon
from surgeon.data import Images
from surgeon.methods.controls.noise_layer import GaussianNoise
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.parametric_noise.module import _NoisyWeights
from surgeon.recipe import Training
from surgeon.training import adversarial_noise, fit

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)
LAYERS = (GaussianNoise, KernelAveragePool, _NoisyWeights)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return Images(torch.rand(32, *SIZE, generator=generator), torch.arange(32) % 5)


def cut(tiny, others):
    model = surgeon.apply(tiny, others, input_size=SIZE, seed=1)
    return surgeon.apply(model, "anl", input_size=SIZE, seed=1, stack=True)


def outputs(model):
    """What the first noisy layer, which no adversarial noise reaches, gives in training, call by call."""
    seen = []

    def note(layer, _, output):
        if layer.training:
            seen.append(output.detach().clone())

    first = next(m for m in model.modules() if isinstance(m, LAYERS))
    first.register_forward_hook(note)
    return seen


@pytest.mark.parametrize("others", ["kap", "noise", "parametric-noise"])
@pytest.mark.parametrize("where", ["fit", "own loop"])
def test_both_rounds_see_the_same_noise(tiny, images, others, where):
    model = cut(tiny, others)
    seen = outputs(model)
    if where == "fit":
        settings = Training(epochs=2, batch_size=16, noise_share=1.0)
        fit(model, images, None, settings, seed=3, device="cpu", progress=False)
    else:
        loss_fn = torch.nn.functional.cross_entropy
        model.train()
        for part in torch.arange(32).split(8):
            with adversarial_noise(model, images.x[part], images.y[part], loss_fn):
                loss_fn(model(images.x[part]), images.y[part])
    assert len(seen) == 8
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen[0], seen[2])


def test_a_step_draws_the_noise_that_it_would_without_a_first_round(tiny, images):
    """So ANL's layers change no draw of a network that has other noise besides."""
    draws = []
    for model in (cut(tiny, "noise"), surgeon.apply(tiny, "noise", input_size=SIZE, seed=1)):
        seen = outputs(model)
        settings = Training(epochs=1, batch_size=32, noise_share=1.0)
        fit(model, images, None, settings, seed=3, device="cpu", progress=False)
        draws.append(seen[-1])
    assert torch.equal(*draws)
