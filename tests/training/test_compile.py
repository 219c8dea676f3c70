"""torch.compile changes no loss: neither by the setting, nor in a loop of one's own."""

import copy

import pytest
import torch

import surgeon
from surgeon.data import Images
from surgeon.recipe import Training
from surgeon.training import adversarial_noise, fit

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)


@pytest.fixture
def eager(monkeypatch):
    """Capture and autograd as torch.compile does them, without the minutes that generating code takes."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="aot_eager"))
    torch._dynamo.reset()


@pytest.mark.parametrize("surgery", [None, "kap", "anl", "canl", {"op": "weight-map", "start": "anneal"}])
def test_a_compiled_training_has_the_losses_of_one_that_is_not(tiny, eager, surgery):
    data = Images(torch.rand(64, *SIZE), torch.arange(64) % 5)
    losses = []
    tiny.drop = 0.0
    for compiled in (False, True):
        torch.manual_seed(0)
        model = surgeon.apply(tiny, surgery, input_size=SIZE, seed=1) if surgery else copy.deepcopy(tiny)
        settings = Training(epochs=2, batch_size=32, lr=0.0001, noise_share=0.5, compile=compiled)
        losses.append([r.loss for r in fit(model, data, None, settings)])
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)


@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_noise_reaches_a_model_compiled_by_its_owner(tiny, how):
    tiny.drop = 0.0
    x, y = torch.rand(16, *SIZE), torch.arange(16) % 5
    loss_fn = torch.nn.functional.cross_entropy
    losses = []
    for compiled in (False, True):
        model = surgeon.apply(
            tiny, {"op": "adversarial-noise", "epsilon": 1.0}, input_size=SIZE, seed=1
        ).train()
        called = model
        if compiled and how == "wrapped":
            called = torch.compile(model, backend="aot_eager")
        elif compiled:
            model.compile(backend="aot_eager")
        with adversarial_noise(called, x, y, loss_fn):
            losses.append(float(loss_fn(called(x), y).detach()))
    plain = float(loss_fn(tiny.train()(x), y).detach())
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert abs(losses[0] - plain) > 0.01
