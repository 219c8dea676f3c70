"""The step with adversarial noise layers: the noise it makes, and all that it leaves untouched."""

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.layers import AdversarialNoise
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
        assert [p.requires_grad for p in model.parameters()] == [n != "head.weight" for n, _ in model.named_parameters()]
        assert all(m.gradient is not None for m in model.modules() if isinstance(m, AdversarialNoise))
    assert all(m.gradient is None and m.phase == "idle" for m in model.modules() if isinstance(m, AdversarialNoise))


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
        found = [model.bn1.anl.gradient, model.bn2.anl.gradient]
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-14)


def test_adversarial_noise_raises_the_loss_and_its_mirror_lowers_it(batch):
    torch.manual_seed(0)
    x, y = batch
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
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
    model = surgeon.apply(model, {"op": "adversarial-noise", "source": source, "at_input": True}, input_size=(3, 32, 32))
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
    assert {m.phase for m in model.modules() if isinstance(m, AdversarialNoise)} == {"idle"}


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
