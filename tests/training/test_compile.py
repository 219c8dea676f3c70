"""torch.compile changes no loss: neither by the setting, nor in a loop of one's own."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

import surgeon
from surgeon.data import Images
from surgeon.recipe import Training
from surgeon.training import adversarial_noise, fit, two_rounds
from surgeon.training.two_rounds import noise_layers
from tests.sensitivity import doubled

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
        settings = Training(epochs=2, batch_size=32, lr=0.01, noise_share=0.5, compile=compiled)
        losses.append([r.loss for r in fit(doubled(model), data, None, settings)])
    assert losses[0] == pytest.approx(losses[1], rel=0, abs=1e-9)


@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_noise_reaches_a_model_compiled_by_its_owner(tiny, how):
    tiny.double().drop = 0.0
    x, y = torch.rand(16, *SIZE).double(), torch.arange(16) % 5
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
    assert losses[1] == pytest.approx(losses[0], rel=0, abs=1e-9)
    assert abs(losses[0] - plain) > 0.01


@pytest.mark.parametrize("recipe", ["kap", "noise"])
def test_compiled_gaussian_noise_is_the_steps_own(tiny, eager, recipe):
    torch._dynamo.utils.counters.clear()
    data = Images(torch.rand(64, *SIZE), torch.arange(64) % 5)
    settings = Training(epochs=1, batch_size=32, lr=0.01, compile=True)
    runs = []
    for elsewhere in (1, 2):
        torch.rand(elsewhere)  # the global stream
        model = surgeon.apply(tiny, recipe, input_size=SIZE, seed=1)
        runs.append([r.loss for r in fit(model, data, None, settings)])
    assert runs[0] == runs[1]
    assert not torch._dynamo.utils.counters["graph_break"]


def canl(tiny, **settings):
    torch._dynamo.reset()
    tiny.double().drop = 0.0
    operation = {"op": "adversarial-noise", "source": "canl", "epsilon": 0.5, **settings}
    return surgeon.apply(tiny, operation, input_size=SIZE, seed=1).train()


def caches(model):
    return [layer.cache.clone() for layer in noise_layers(model)]


def agree(one, other):
    for a, b in zip(caches(one), caches(other), strict=True):
        assert a.any()
        # a number between two of 16 bits may become either
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9 if a.dtype == torch.float64 else 1e-2)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("dtype", [None, "float16", "bfloat16"])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_canl_in_one_graph_remembers_what_it_remembers_eagerly(tiny, memory, dtype):
    plain = canl(tiny, cache_dtype=dtype).to(memory_format=memory)
    called = torch.compile(copy.deepcopy(plain), backend="aot_eager", fullgraph=True)
    before = None
    for absent in (None, 1, 2, 1):
        x = torch.rand(15, *SIZE).double().contiguous(memory_format=memory)
        y = torch.arange(15) % 5
        y[y == absent] = 0
        losses = []
        for model in (plain, called):
            model.zero_grad()
            with adversarial_noise(model, x, y, cross_entropy):
                loss = cross_entropy(model(x), y)
                assert (
                    model is plain
                    or before is None
                    or all(m.batch.cache_input is None for m in noise_layers(model))
                )
            loss.backward()
            losses.append(float(loss))
        assert losses[0] == pytest.approx(losses[1], rel=0, abs=1e-9)
        agree(plain, called)
        if absent is not None:
            assert all(torch.equal(a[absent], b[absent]) for a, b in zip(before, caches(called), strict=True))
        before = caches(called)


def test_canl_with_two_passes_before_one_backward(tiny):
    # without running statistics: compiled passes save them, and write over them
    tiny.bn1, tiny.bn2 = (torch.nn.BatchNorm2d(16, track_running_stats=False) for _ in range(2))
    plain = canl(tiny)
    called = torch.compile(copy.deepcopy(plain), backend="aot_eager")
    for _ in range(4):
        x, z = torch.rand(2, 12, *SIZE).double()
        y = torch.randint(0, 4, (12,))
        for model in (plain, called):
            model.zero_grad()
            with adversarial_noise(model, x, y, cross_entropy):
                loss = cross_entropy(model(x), y) + cross_entropy(model(z), y)  # in one context
            with adversarial_noise(model, z, y, cross_entropy):
                loss = loss + cross_entropy(model(z), y)  # and in another
            loss.backward()
        agree(plain, called)


def test_canl_starts_anew_with_a_memory_of_other_classes(tiny):
    model = canl(tiny)
    called = torch.compile(model, backend="aot_eager", fullgraph=True)
    x, y = torch.rand(12, *SIZE).double(), torch.arange(12) % 5
    for classes in (5, 3, 5):
        for layer in noise_layers(model) if classes == 3 else ():
            layer.set_memory({**layer.get_memory(), "cache": layer.cache[:3]})
        with adversarial_noise(called, x, y, cross_entropy):
            cross_entropy(called(x), y).backward()
        assert all(
            layer.cache.shape[0] == 5 and layer.cache.flatten(1).any(1).all() for layer in noise_layers(model)
        )


@pytest.mark.parametrize("case", ["momentum", "few", "sizes"])
def test_canl_where_one_graph_does_not_do(tiny, case):
    plain = canl(tiny, **({"momentum": 0.5} if case == "momentum" else {}))
    called = torch.compile(copy.deepcopy(plain), backend="aot_eager")
    for side in (8, 8, 6, 6) if case == "sizes" else (8, 8, 8):
        n = 3 if case == "few" else 12  # of five classes
        x, y = torch.rand(n, 3, side, side).double(), torch.arange(n) % 5
        for model in (plain, called):
            model.zero_grad()
            with adversarial_noise(model, x, y, cross_entropy):
                cross_entropy(model(x), y).backward()
        agree(plain, called)


def test_the_step_that_makes_caches_or_moves_them_runs_uncompiled(tiny):
    model = canl(tiny)
    x, y = torch.rand(12, *SIZE).double(), torch.arange(12) % 5
    assert two_rounds._before_caches(noise_layers(model), x, y)
    with adversarial_noise(model, x, y, cross_entropy):
        cross_entropy(model(x), y).backward()
    assert not two_rounds._before_caches(noise_layers(model), x, y)
    assert two_rounds._before_caches(
        noise_layers(model), x.to("meta"), y
    )  # as after a checkpoint, which is read onto the CPU
    assert not two_rounds._before_caches([], x, y)
    for layer in noise_layers(model):
        layer.set_labels(y)
        assert layer.batch.cache_input is not None
        layer.set_memory(layer.get_memory())
        assert layer.batch.cache_input is None
