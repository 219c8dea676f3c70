"""The Adversarial Noise Layer in a minimal training loop: ANL, CANL, and the LAT and Gaussian controls."""

import pytest
import torch
import torch.nn.functional as F

import surgeon
from surgeon.errors import LayerError, RecipeError
from surgeon.methods.adversarial_noise import ANL, CANL, GaussianControl
from tests.methods.adversarial import Net, batch, gradient_at_zero_noise, round_one
from tests.reference import adversarial_noise as reference


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("epsilon", [0.3, -0.3])
@pytest.mark.parametrize("per_sample", [True, False])
def test_anl_two_rounds(per_sample, epsilon, inplace, frozen):
    net, (x, y) = Net(epsilon=epsilon, per_sample=per_sample, inplace=inplace, seed=3), batch()
    net.requires_grad_(not frozen)
    expected = gradient_at_zero_noise(net, x, y)
    round_one(net, x, y)
    assert torch.equal(net.before, net.after) and all(p.grad is None for p in net.parameters())
    torch.testing.assert_close(net.noise.batch.gradient, expected, rtol=0, atol=1e-12)
    assert net.noise.batch.recorded is None and not net.noise.batch.gradient.requires_grad

    net.requires_grad_(True)
    loss = F.cross_entropy(net(x), y)
    eta = net.after - net.before
    std = reference.standard_deviation(net.before)
    r = eta.flatten(1).abs().amax(1) / std * (1 if epsilon > 0 else -1)
    assert (r.std() > 1e-6) == per_sample and (r / epsilon).min() >= 0 and (r / epsilon).max() <= 1
    torch.testing.assert_close(eta, reference.eta(expected, std, r), rtol=0, atol=1e-12)
    net.noise.enter("idle")
    plain = F.cross_entropy(net(x), y)
    assert (loss > plain) == (epsilon > 0)
    assert net.noise.batch.gradient is None


def test_anl_passes_the_gradient_through_and_holds_eta():
    net, (x, y) = Net(epsilon=0.5), batch()
    round_one(net, x, y)
    h = torch.randn(6, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    first = net.noise(h)
    assert torch.equal(first, net.noise(h))
    assert torch.equal(torch.autograd.grad(first.sum(), h)[0], torch.ones_like(h))
    # s(h) follows the activations, though autograd sees it as a constant
    held = first.detach() - h.detach()
    torch.testing.assert_close(net.noise(2 * h).detach() - 2 * h.detach(), 2 * held)


def test_gradcheck_with_the_standard_deviation_held_by_a_running_mean():
    layer = ANL(0.5, momentum=1e-12, seed=0)
    layer.enter("perturb")
    h = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    layer.set_gradient(torch.randn(3, 4))
    layer(h)
    assert torch.autograd.gradcheck(layer, h)


def test_anl_does_not_touch_the_global_random_stream():
    net, (x, y) = Net(), batch()
    before = torch.get_rng_state()
    round_one(net, x, y)
    net(x)
    assert torch.equal(torch.get_rng_state(), before)


def test_anl_gives_no_noise_where_the_gradient_is_zero():
    layer = ANL(1.0)
    h = torch.randn(3, 4, requires_grad=True)
    layer.enter("record")
    layer(h)
    layer.set_gradient(None)
    layer.enter("perturb")
    assert torch.equal(layer(h), h)
    layer.set_gradient(torch.tensor([[0.0] * 4, [1.0, 0, 0, 0], [0.0] * 4]))
    moved = (layer(h) != h).any(1)
    assert moved.tolist() == [False, True, False]


def test_running_standard_deviation():
    layer = ANL(1.0, momentum=0.25, per_sample=False, seed=0)
    layer.enter("perturb")
    batches = [torch.randn(5, 3, dtype=torch.float64) * scale for scale in (1, 2, 5)]
    running = None
    for h in batches:
        layer.set_gradient(torch.ones_like(h))
        layer.batch.magnitude = torch.ones(1)
        out = layer(h)
        std = reference.standard_deviation(h)
        running = std if running is None else 0.75 * running + 0.25 * std
        assert (out - h).abs().max().item() == pytest.approx(running, rel=1e-12)


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16])
def test_canl_cache_equals_a_dictionary(dtype):
    net = Net("canl", num_classes=5, cache_dtype=dtype, epsilon=0.4, seed=2)
    net.noise.enter("perturb")
    cache = {}
    for n, classes in ((6, 3), (9, 3), (2, 1), (7, 5)):
        x, y = batch(n, min(classes, 3))
        y = y if classes <= 3 else (torch.arange(n) % 2) * 2  # the last batch has classes 0 and 2 only
        net.noise.set_labels(y)
        h = net.conv(x)
        out = net.noise(h)
        eta = (out - h).detach()
        expected = torch.stack([cache.get(int(c), torch.zeros(4, 3, 3)) for c in y]).double()
        std = reference.standard_deviation(h)
        r = eta.flatten(1).abs().amax(1) / std
        assert (r > 0).tolist() == [int(c) in cache for c in y] and r.max() <= 0.4
        tolerance = {"rtol": 0, "atol": 1e-12 if dtype is None else 1e-3}
        torch.testing.assert_close(eta, reference.eta(expected, std, r), **tolerance)

        probe = out.detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(net.head(probe.clamp(min=0).flatten(1)), y), probe)[0]
        order = net.noise.batch.rank.argsort().tolist()
        F.cross_entropy(net.head(net.relu(out).flatten(1)), y).backward()
        reference.update_cache(cache, gradient, y, order)
        for c in range(5):
            wanted = cache.get(c, torch.zeros(4, 3, 3)).double()
            if dtype == torch.float16 and c in cache:
                wanted = wanted / wanted.abs().max()
            torch.testing.assert_close(net.noise.cache[c].double(), wanted, **tolerance)
    assert net.noise.cache.shape == (5, 4, 3, 3) and net.noise.cache.dtype == (dtype or torch.float64)


def test_canl_picks_every_sample_of_a_class_alike():
    layer = CANL(num_classes=1, seed=0)
    layer.enter("perturb")
    counts = torch.zeros(4)
    for _ in range(400):
        layer.set_labels(torch.zeros(4, dtype=torch.long))
        out = layer(torch.zeros(4, 1, requires_grad=True))
        out.backward(torch.arange(4.0).unsqueeze(1))
        counts[int(layer.cache[0, 0])] += 1
    assert (counts > 70).all() and (counts < 130).all()


def test_canl_keeps_half_precision_gradients_that_would_underflow():
    layer = CANL(num_classes=2, cache_dtype=torch.float16)
    layer.enter("perturb")
    layer.set_labels(torch.tensor([0, 1]))
    tiny = torch.tensor([[1e-12, -2e-12], [3e-12, 0.0]])
    layer(torch.zeros(2, 2, requires_grad=True)).backward(tiny)
    assert torch.equal(layer.cache, torch.tensor([[0.5, -1.0], [1.0, 0.0]], dtype=torch.float16))


def test_canl_starts_anew_for_another_activation_shape_and_reset_forgets():
    layer = CANL(num_classes=2)
    layer.enter("perturb")
    for size in (3, 5):
        layer.set_labels(torch.tensor([0, 1]))
        h = torch.randn(2, size, requires_grad=True)
        out = layer(h)
        assert torch.equal(out, h) and layer.cache.shape == (2, size) and not layer.cache.any()
        out.backward(torch.ones(2, size))
        assert layer.cache.all()
    layer.reset()
    assert layer.cache is None


@pytest.mark.parametrize("source", ["canl", "lat"])
def test_one_round_sources_learn_on_the_input_of_a_network(source):
    net = Net(source, on_input=True, num_classes=3, epsilon=0.3)
    net.noise.enter("perturb")
    x, y = batch()
    for turn in range(2):
        if net.noise.needs_labels:
            net.noise.set_labels(y)
        F.cross_entropy(net(x), y).backward()
        assert torch.equal(net.before, x) == (turn == 0)
    assert not x.requires_grad and x.grad is None


def test_lat_adds_the_sign_of_the_previous_gradient():
    net = Net("lat", epsilon=0.25)
    assert net.noise.phase == "perturb"
    previous = None
    for n in (6, 4, 6):
        x, y = batch(n)
        loss = F.cross_entropy(net(x), y)
        eta = net.after - net.before
        expected = torch.zeros_like(eta)
        if previous is not None:
            m = min(n, len(previous))
            expected[:m] = 0.25 * torch.sign(previous[:m])
        torch.testing.assert_close(eta, expected, rtol=0, atol=1e-12)
        probe = net.after.clone().requires_grad_()
        previous = torch.autograd.grad(F.cross_entropy(net.head(probe.clamp(min=0).flatten(1)), y), probe)[0]
        loss.backward()
    assert previous.any()
    other = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    assert torch.equal(net.noise(other), other)


@pytest.mark.parametrize("epsilon", [0.4, -0.4])
def test_gaussian_control(epsilon):
    layer = GaussianControl(epsilon)
    h = torch.zeros(100_000)
    assert layer.phase == "perturb"
    eta = layer(h)
    assert abs(eta.mean()) < 0.002 and abs(eta.std() - 0.1) < 0.002
    layer.enter("record")
    assert layer(h) is h


def test_seeds_part_the_layers_and_follow_the_global_seed():
    def draws(seed):
        torch.manual_seed(seed)
        return [ANL().draw(4) for _ in range(2)]

    first, second, other = draws(1), draws(1), draws(2)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])
    assert torch.equal(ANL(seed=5).draw(4), ANL(seed=5).draw(4))


@pytest.mark.parametrize("source", ["anl", "canl"])
@pytest.mark.parametrize("deviation, magnitude", [(False, "drawn"), (True, "fixed"), (False, "fixed")])
def test_without_the_deviation_and_with_a_fixed_magnitude(source, deviation, magnitude):
    """eq. 4 with s(h) = 1, and r = ε/2 instead of eq. 2."""
    more = {"num_classes": 3} if source == "canl" else {}
    net, (x, y) = Net(source, epsilon=0.4, deviation=deviation, magnitude=magnitude, seed=3, **more), batch()
    expected = gradient_at_zero_noise(net, x, y)
    if source == "anl":
        round_one(net, x, y)
    else:
        net.noise.cache = expected[:3].clone()  # the first three samples are of classes 0, 1 and 2
        expected = expected[[0, 1, 2, 0, 1, 2]]
        net.noise.set_labels(y)
        net.noise.enter("perturb")
    net(x)
    eta = (net.after - net.before).double()
    std = reference.standard_deviation(net.before) if deviation else 1.0
    r = eta.flatten(1).abs().amax(1) / std
    if magnitude == "fixed":
        torch.testing.assert_close(r, torch.full_like(r, 0.2), rtol=0, atol=1e-7)
    else:
        assert r.std() > 1e-3 and r.min() >= 0 and r.max() <= 0.4 + 1e-7
    torch.testing.assert_close(eta, reference.eta(expected, std, r), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"magnitude": "constant"}, "'drawn', 'fixed'"),
        ({"deviation": False, "momentum": 0.1}, "leaves out"),
    ],
)
def test_controls_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(LayerError, match=said):
        ANL(0.1, **settings)


def test_only_gradient_noise_has_deviation_and_magnitude():
    with pytest.raises(RecipeError, match="deviation is of sources"):
        surgeon.plan(
            torch.nn.Conv2d(3, 3, 3),
            {"op": "adversarial-noise", "source": "lat", "deviation": False, "after": "conv"},
            input_size=(3, 8, 8),
        )
