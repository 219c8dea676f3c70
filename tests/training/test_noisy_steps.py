"""The step with adversarial noise layers: the noise it makes, and all that it leaves untouched."""

import contextlib

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise import ANL, NoiseLayer, make_layer
from surgeon.training import adversarial_noise, set_noise

SIZE = (3, 8, 8)
loss_fn = nn.functional.cross_entropy


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(6, *SIZE, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1])


def cut(tiny, source, **settings):
    operation = {"op": "adversarial-noise", "source": source, **settings}
    return surgeon.apply(tiny, operation, input_size=SIZE, seed=1).train()


def test_the_first_round_leaves_gradients_statistics_and_random_state_untouched(tiny, batch):
    model = cut(tiny, "anl")
    x, y = batch
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.25)
    model.head.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    with adversarial_noise(model, x, y, loss_fn):
        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert all(torch.equal(p.grad, torch.full_like(p, 0.25)) for p in model.parameters())
        assert [p.requires_grad for p in model.parameters()] == [
            n != "head.weight" for n, _ in model.named_parameters()
        ]
        assert all(m.batch.gradient is not None for m in model.modules() if isinstance(m, NoiseLayer))
    assert all(
        m.batch.gradient is None and m.phase == "idle" for m in model.modules() if isinstance(m, NoiseLayer)
    )


def test_whatever_the_labels_are_a_model_without_layers_passes_through(batch):
    x, _ = batch
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).train()
    with adversarial_noise(model, x, (1, 2), None):
        assert model(x).shape == (6, 4)


def test_labels_of_two_kinds_reach_the_loss(tiny, batch):
    x, y = batch
    model = cut(tiny, "anl")
    mixed = (y, y.flip(0), 0.3)

    def loss(out, labels):
        return loss_fn(out, labels[0]) * labels[2] + loss_fn(out, labels[1]) * (1 - labels[2])

    with adversarial_noise(model, x, mixed, loss):
        assert all(m.batch.gradient is not None for m in model.modules() if isinstance(m, NoiseLayer))
        loss(model(x), mixed).backward()


class OwnNorm(nn.BatchNorm2d):
    """One that keeps statistics in its own way."""

    def forward(self, x):
        self.running_mean.add_(1.0)
        return super().forward(x)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d, OwnNorm, lambda c: nn.InstanceNorm2d(c, track_running_stats=True)]
)
def test_the_first_round_leaves_every_norms_statistics(norm, batch):
    x, y = batch
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), ANL(), nn.Flatten(), nn.Linear(144, 4)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with adversarial_noise(model, x, y, loss_fn):
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        loss_fn(model(x), y).backward()
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])


def test_statistics_move_once_a_step_not_twice(tiny, batch):
    x, y = batch
    noisy = cut(tiny, "anl", epsilon=1e-9)
    plain = surgeon.revert(noisy).train()
    torch.manual_seed(0)
    with adversarial_noise(noisy, x, y, loss_fn):
        noisy(x)
    torch.manual_seed(0)
    plain(x)
    assert int(noisy.bn1.num_batches_tracked) == int(plain.bn1.num_batches_tracked)
    assert torch.allclose(noisy.bn2.running_var, plain.bn2.running_var, rtol=1e-4)


def test_the_gradients_are_those_of_the_loss_by_each_layers_output(tiny, batch):
    """Against a network written out by hand in float64, with zeros added where the layers stand."""
    x, y = batch
    tiny.drop = 0.0
    model = cut(tiny, "anl").double()
    x = x.double()
    stock = surgeon.revert(model).train()
    e1 = torch.zeros(6, 16, 8, 8, dtype=torch.float64, requires_grad=True)
    e2 = torch.zeros_like(e1, requires_grad=True)
    h = stock.bn1(stock.conv1(x)) + e1
    h = h.relu()
    k = stock.bn2(stock.conv2(h)) + e2
    out = stock.head((k + h).relu().mean((2, 3)))
    wanted = torch.autograd.grad(loss_fn(out, y), [e1, e2])
    with adversarial_noise(model, x, y, loss_fn):
        found = [model.bn1.anl.batch.gradient, model.bn2.anl.batch.gradient]
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-14)


def test_adversarial_noise_raises_the_loss_and_its_mirror_lowers_it(batch):
    torch.manual_seed(0)
    x, y = batch
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )
    losses = {}
    for epsilon in (0.3, -0.3):
        noisy = surgeon.apply(model, {"op": "adversarial-noise", "epsilon": epsilon}, input_size=SIZE).train()
        with adversarial_noise(noisy, x, y, loss_fn):
            losses[epsilon] = float(loss_fn(noisy(x), y).detach())
    plain = float(loss_fn(model.train()(x), y).detach())
    assert losses[0.3] > plain > losses[-0.3]


@pytest.mark.parametrize("source", ["anl", "canl", "lat", "gaussian"])
def test_every_source_trains_a_timm_network_with_in_place_activations(source):
    model = timm.create_model("resnet18", num_classes=4)
    model = surgeon.apply(
        model, {"op": "adversarial-noise", "source": source, "at_input": True}, input_size=(3, 32, 32)
    )
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.01)
    x, y = torch.randn(8, 3, 32, 32), torch.randint(0, 4, (8,))
    for _ in range(2):
        optimizer.zero_grad()
        with adversarial_noise(model, x, y, loss_fn):
            loss = loss_fn(model(x), y)
            loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_an_error_in_the_loss_restores_everything(tiny, batch):
    model = cut(tiny, "anl")
    x, y = batch

    def broken(output, labels):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), adversarial_noise(model, x, y, broken):
        pass
    assert all(p.requires_grad for p in model.parameters())
    assert {m.phase for m in model.modules() if isinstance(m, NoiseLayer)} == {"idle"}


def test_evaluation_and_stock_models_pass_through(tiny, batch):
    x, y = batch
    with adversarial_noise(tiny, x, y, loss_fn):
        assert torch.equal(tiny(x), tiny(x))
    model = cut(tiny, "anl").eval()
    with adversarial_noise(model, x, y, None):
        assert torch.equal(model(x), tiny(x))


def test_noise_can_be_switched_off(tiny, batch):
    x, y = batch
    tiny.drop = 0.0
    model = cut(tiny, "gaussian", epsilon=1.0)
    assert not torch.equal(model(x), model(x))
    set_noise(model, False)
    assert torch.equal(model(x), model(x))


class Net(nn.Sequential):
    """A network with a layer put in by hand, before an in-place activation, and dropout."""

    def __init__(self, source="anl", drop=0.0, epsilon=0.3):
        torch.manual_seed(0)
        noise = make_layer(source, epsilon, seed=1, num_classes=4)
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            noise,
            nn.ReLU(inplace=True),
            nn.Dropout(drop),
            nn.Flatten(),
            nn.Linear(4 * 64, 4),
        )

    @property
    def noise(self):
        return self[2]

    def step(self, x, y, network=None):
        with adversarial_noise(network or self, x, y, loss_fn):
            loss = loss_fn((network or self)(x), y)
            loss.backward()
        return loss.detach()


def test_dropout_draws_what_it_would_have_drawn_without_the_first_round(batch):
    x, y = batch
    first, second = Net(drop=0.5, epsilon=1e-12), Net("gaussian", drop=0.5)
    set_noise(second, False)
    torch.manual_seed(7)
    a = first.step(x, y)
    state = torch.get_rng_state()
    torch.manual_seed(7)
    b = second.step(x, y)
    assert torch.allclose(a, b, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)


def test_parameter_gradients_are_added_once_and_are_those_of_the_noisy_loss(batch):
    x, y = batch
    noisy = Net().double()
    with adversarial_noise(noisy, x.double(), y, loss_fn):
        loss_fn(noisy(x.double()), y).backward()
    other = Net().double()
    with adversarial_noise(other, x.double(), y, loss_fn):
        wanted = torch.autograd.grad(loss_fn(other(x.double()), y), list(other.parameters()))
    for p, g in zip(noisy.parameters(), wanted, strict=True):
        assert torch.equal(p.grad, g)


def test_the_cached_layer_learns_the_gradients_of_its_classes_in_one_forward(batch):
    x, y = batch
    model = Net("canl")
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    model.step(x, y)
    assert len(calls) == 1
    assert [bool(c.abs().max() > 0) for c in model.noise.cache] == [True] * 4
    assert model.noise.batch.labels is None


def test_spectral_norms_first_round_leaves_its_vectors(batch):
    x, y = batch
    model = Net()
    nn.utils.parametrizations.spectral_norm(model[6])
    vectors = model[6].parametrizations.weight[0]
    before = vectors._u.clone()
    with adversarial_noise(model, x, y, loss_fn):
        assert torch.equal(vectors._u, before)


def test_half_precision_gradients_are_those_of_the_summed_loss(batch):
    x, y = batch
    full, half = Net(), Net().half()
    with adversarial_noise(full, x, y, loss_fn):
        wanted = full.noise.batch.gradient * len(y)
    with adversarial_noise(half, x.half(), y, lambda out, labels: loss_fn(out.float(), labels)):
        found = half.noise.batch.gradient.float()
    assert float((found - wanted).norm() / wanted.norm()) < 0.05


def test_the_first_round_computes_no_parameter_gradients(batch):
    x, y = batch
    model = Net()
    seen = []

    def watched(out, labels):
        seen.append([p.requires_grad for p in model.parameters()])
        return loss_fn(out, labels)

    with adversarial_noise(model, x, y, watched):
        watched(model(x), y)
    assert [any(flags) for flags in seen] == [False, True]


@pytest.mark.parametrize("find", [False, True])
def test_distributed_data_parallel_takes_several_steps(batch, tmp_path, find):
    dist = torch.distributed
    if not dist.is_available() or dist.is_initialized():
        pytest.skip("needs torch.distributed to itself")
    x, y = batch
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/init", rank=0, world_size=1)
    try:
        alone, shared = Net(), Net()
        parallel = nn.parallel.DistributedDataParallel(shared, find_unused_parameters=find)
        for _ in range(2):
            assert torch.equal(alone.step(x, y), shared.step(x, y, parallel))
        assert all(
            torch.equal(p.grad, q.grad) for p, q in zip(alone.parameters(), shared.parameters(), strict=True)
        )
    finally:
        dist.destroy_process_group()


def test_layers_that_the_loss_does_not_reach_add_nothing(batch):
    x, y = batch
    asleep = Net()
    asleep.noise.eval()
    unused = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    unused.spare = ANL()
    unused.forward = lambda x: unused[1](x.flatten(1))
    for model in (asleep, unused):
        with adversarial_noise(model, x, y, loss_fn):
            assert torch.isfinite(loss_fn(model(x), y))


@pytest.mark.parametrize("source", ["anl", "canl", "lat", "gaussian"])
def test_an_error_within_the_step_leaves_the_layers_as_they_were(batch, source):
    x, y = batch
    model = Net(source)
    phase = model.noise.phase
    with contextlib.suppress(KeyboardInterrupt), adversarial_noise(model, x, y, loss_fn):
        raise KeyboardInterrupt
    assert model.noise.phase == phase
    assert model.noise.batch.gradient is None
    assert model.noise.batch.labels is None
    if source in ("anl", "canl"):
        assert model.noise(x) is x


@pytest.mark.parametrize(("source", "names"), [("anl", set()), ("canl", {"cache"})])
def test_a_step_sets_no_attributes_of_its_layers(batch, source, names, monkeypatch):
    """torch looks for each among parameters, buffers and modules, which takes microseconds: those of a
    batch are elsewhere."""
    x, y = batch
    model, seen = Net(source), set()
    model.step(x, y)
    plain = nn.Module.__setattr__

    def watched(module, name, value):
        if isinstance(module, NoiseLayer):
            seen.add(name)
        plain(module, name, value)

    monkeypatch.setattr(nn.Module, "__setattr__", watched)
    model.step(x, y)
    assert seen == names


def test_soft_labels_are_refused_by_the_cached_layer(batch):
    x, y = batch
    model = Net("canl")
    soft = nn.functional.one_hot(y, 4).float()
    with pytest.raises(LayerError, match="soft labels"), adversarial_noise(model, x, soft, loss_fn):
        pass
    assert model.noise.phase == "idle"
