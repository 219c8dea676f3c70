"""Training images of adversarial training: in the ball, as strong as they should be, and nothing else touched."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.recipe import Adversary, Training
from surgeon.recipe.adversary import STEPWISE
from surgeon.tensors.shard import Shard
from surgeon.training import fit
from surgeon.training.adversary import attacked, left_clean

pytest.importorskip("accelerate")
METHODS = ("fgsm", "fgsm-rs", "n-fgsm", "pgd", "trades", "mart")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(8, 3, 8, 8, generator=generator), torch.arange(8) % 5


def attack(model, batch, **settings):
    x, y = batch
    return attacked(model, model, x, y, Adversary(**settings), Shard(0, len(x)), "place")


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS)
def test_images_stay_in_their_ball_and_in_range_and_raise_the_loss(tiny, batch, method, norm):
    x, y = batch
    eps = 0.05 if norm == "linf" else 0.8
    found = attack(tiny, batch, method=method, norm=norm, eps=eps)
    delta = (found - x).flatten(1)
    distance = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert float(distance.max()) <= (3 if method == "n-fgsm" else 1) * eps + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    before, after = (nn.functional.cross_entropy(tiny(z), y) for z in (x, found))
    assert after > before or method == "trades"  # which raises the divergence, whatever the label
    assert not found.requires_grad


def test_fgsm_is_one_step_of_the_sign(tiny, batch):
    x, y = batch[0].double(), batch[1]  # in which no gradient is so small that rounding turns its sign
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(tiny.double()(leaf), y).backward()
    assert torch.allclose(
        attack(tiny, (x, y), method="fgsm", eps=0.03), (x + 0.03 * leaf.grad.sign()).clamp(0, 1)
    )


def test_the_random_start_of_fast_training_is_inside_and_its_step_longer(tiny, batch):
    still = attack(tiny, batch, method="fgsm-rs", eps=0.1, step_size=1e-7)
    delta = still - batch[0]
    assert float(delta.abs().max()) > 0.08
    assert float(delta.std()) == pytest.approx(0.1 / 3**0.5, rel=0.2)
    stepped = attack(tiny, batch, method="fgsm-rs", eps=0.1) - batch[0]
    inside = (batch[0] > 0.1) & (batch[0] < 0.9)
    assert float((stepped[inside].abs() > 0.0999).float().mean()) > 0.5


def test_pgd_is_stronger_than_one_step(tiny, batch):
    _, y = batch
    losses = {
        m: float(
            nn.functional.cross_entropy(
                tiny(attack(tiny, batch, method=m, eps=0.1, steps=20 if m == "pgd" else None)), y
            ).detach()
        )
        for m in ("fgsm", "pgd")
    }
    assert losses["pgd"] > losses["fgsm"]


def test_trades_raises_the_divergence_not_the_loss(tiny, batch):
    from surgeon.training.objective import divergence

    x, batch = batch[0].double(), (batch[0].double(), batch[1])
    trades = attack(tiny.double(), batch, method="trades", eps=0.05)
    with torch.no_grad():
        clean = tiny(x)
        assert divergence(tiny(trades), clean).mean() > 10 * divergence(tiny(x + 1e-3), clean).mean()
        assert (
            divergence(tiny(trades), clean).mean()
            >= divergence(tiny(attack(tiny, batch, method="fgsm", eps=0.05)), clean).mean()
        )


def test_a_share_stays_clean(tiny, batch):
    found = attack(tiny, batch, method="fgsm", eps=0.05, clean_share=0.5)
    left = left_clean(0.5, len(found))
    assert torch.equal(found[left], batch[0][left]) and int(left.sum()) == len(found) // 2
    assert not any(torch.equal(one, image) for one, image in zip(found[~left], batch[0][~left], strict=True))


def test_the_same_images_stay_clean_in_every_part_of_a_batch(tiny, batch):
    """One process and two, and micro-batches, train on the same images."""
    x, y = batch[0].double(), batch[1]
    settings = Adversary(method="fgsm", eps=0.05, clean_share=0.4)
    tiny = tiny.double()
    whole = attacked(tiny, tiny, x, y, settings, Shard(0, len(x)), 0)
    parts = [
        attacked(tiny, tiny, x[a:b], y[a:b], settings, Shard(a, len(x)), 0) for a, b in ((0, 3), (3, len(x)))
    ]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("fails", [False, True])
def test_modes_weights_and_statistics_are_left_alone(tiny, batch, fails):
    model = surgeon.apply(tiny, "kap+canl", input_size=(3, 8, 8)).train()
    model.bn1.eval()
    model.head.weight.requires_grad_(False)
    modes = {n: m.training for n, m in model.named_modules()}
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    if fails:
        with pytest.raises(IndexError):
            attack(model, (batch[0], batch[1] + 5), method="pgd")
    else:
        attack(model, batch, method="pgd")
    assert {n: m.training for n, m in model.named_modules()} == modes
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["head.weight"]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("surgery", [None, "kap", "anl", "canl", "defective"])
@pytest.mark.parametrize("method", METHODS)
def test_each_procedure_trains_each_surgery(tiny, method, surgery):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 5, (48,), generator=generator)
    x = torch.rand(48, 3, 8, 8, generator=generator) * 0.3
    x[torch.arange(48), 0, y] += 0.7
    model = surgeon.apply(tiny, surgery, input_size=(3, 8, 8)) if surgery else tiny
    adversary = Adversary(method=method, eps=0.02, steps=2 if method in STEPWISE else None)
    settings = Training(epochs=3, batch_size=16, lr=0.1, adversary=adversary)
    rows = fit(model, Images(x, y), Images(x, y), settings)
    assert rows[-1].loss < rows[0].loss
    assert 0 <= rows[-1].val_robust <= 1


def test_adversarial_training_gives_robustness_that_plain_training_does_not():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (400,), generator=generator)
    x = torch.full((400, 1, 4, 4), 0.5)  # two features: weak and perfect, strong and mostly right
    sign = 2.0 * y - 1
    x[:, 0, :2] += (0.02 * sign).view(-1, 1, 1)
    mostly = torch.rand(400, generator=generator) < 0.9
    strong = sign * mostly.float().mul(2).sub(1)
    x[:, 0, 3] += (0.3 * strong).view(-1, 1)
    data = Images(x, y)
    robust = {}
    for name, adversary in (("plain", Adversary(eps=0.1)), ("pgd", Adversary(eps=0.1, steps=5))):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        training = Training(
            epochs=60, batch_size=50, lr=0.5, weight_decay=0.0, adversary=adversary if name == "pgd" else None
        )
        fit(model, data, None, training, progress=False)
        found = attacked(model, model, x, y, Adversary(eps=0.1), Shard(0, 400), "test")
        robust[name] = float((model(found).argmax(1) == y).float().mean())
    # by the strong feature alone
    assert robust["pgd"] == pytest.approx(float(mostly.float().mean()), abs=0.02)
    assert robust["plain"] < robust["pgd"] - 0.2


def test_the_best_weights_are_those_of_the_highest_accuracy_under_attack(tiny, tmp_path):
    generator = torch.Generator().manual_seed(0)
    data = Images(
        torch.rand(48, 3, 8, 8, generator=generator), torch.randint(0, 5, (48,), generator=generator)
    )
    settings = Training(epochs=4, batch_size=16, lr=0.1, keep="best", adversary=Adversary(eps=0.01, steps=2))
    rows = fit(tiny, data, data, settings, folder=tmp_path)
    from safetensors.torch import load_file

    best = load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(v, best[k]) for k, v in tiny.state_dict().items())
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["progress"]["best"][0] == max(r.val_robust for r in rows)
