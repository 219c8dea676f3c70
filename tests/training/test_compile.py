"""torch.compile changes no loss: neither by the setting, nor in a loop of one's own."""

import copy

import pytest
import torch

import surgeon
from surgeon.data import Images
from surgeon.recipe import Training
from surgeon.training import adversarial_noise, fit
from surgeon.training.steps import noise_layers

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)
QUIET = {"op": "kap", "sigma": 0.0}  # its noise is drawn from another stream where it is compiled


@pytest.fixture
def eager(monkeypatch):
    """Capture and autograd as torch.compile does them, without the minutes that generating code takes."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="aot_eager"))
    torch._dynamo.reset()


@pytest.mark.parametrize("surgery", [None, QUIET, "anl", "canl", {"op": "weight-map", "start": "anneal"}])
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


@pytest.mark.parametrize("recipe", ["kap", "noise"])
def test_compiled_gaussian_noise_is_the_steps_own(tiny, eager, recipe):
    data = Images(torch.rand(64, *SIZE), torch.arange(64) % 5)
    runs = []
    for seed in (1, 1, 2):
        torch.rand(seed)  # the global stream stands elsewhere
        model = surgeon.apply(tiny, recipe, input_size=SIZE, seed=1)
        settings = Training(epochs=1, batch_size=32, lr=0.01, compile=True)
        runs.append([r.loss for r in fit(model, data, None, settings, seed=seed)])
    assert runs[0] == runs[1] != runs[2]
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_canl_in_one_graph_remembers_what_it_remembers_eagerly(tiny, memory):
    torch._dynamo.reset()
    tiny.drop = 0.0
    eager = surgeon.apply(
        tiny, {"op": "adversarial-noise", "source": "canl", "epsilon": 0.5}, input_size=SIZE, seed=1
    )
    eager.train().to(memory_format=memory)
    called = torch.compile(copy.deepcopy(eager), backend="aot_eager", fullgraph=True)
    for _ in range(4):
        x = torch.rand(12, *SIZE).contiguous(memory_format=memory)
        y = torch.randint(0, 4, (12,))  # of five classes
        losses = []
        for model in (eager, called):
            model.zero_grad()
            with adversarial_noise(model, x, y, torch.nn.functional.cross_entropy):
                loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            losses.append(float(loss))
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
        for one, other in zip(noise_layers(eager), noise_layers(called), strict=True):
            assert one.cache is not None and one.cache.any()
            torch.testing.assert_close(one.cache, other.cache, atol=1e-6, rtol=1e-4)
            assert other._input is None or other._input.grad is None
        for p, q in zip(eager.parameters(), called.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, atol=1e-5, rtol=1e-3)
