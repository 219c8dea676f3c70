"""The four attacks of AutoAttack's standard version against a slow reference of them, image by image in float64."""

import pytest
import torch
from torch import nn

from surgeon.evaluation import Attack
from surgeon.evaluation.attacks.dispatch import run_attack
from tests.reference import auto_pgd_l1 as slow_l1
from tests.reference import autoattack as slow

pytest.importorskip("torchattacks")
CLASSES, IMAGES = 6, 10


def subject_of(side):
    """A small network without ties and kinks, in float64, and images that it gets right."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * side**2, CLASSES)
    ).double()
    with torch.no_grad():
        model[3].weight.mul_(3)
    x = 0.1 + 0.8 * torch.rand(IMAGES, 2, side, side, dtype=torch.float64)
    return model.requires_grad_(False).eval(), x, model(x).argmax(1)


@pytest.fixture(scope="module")
def subject():
    return subject_of(6)


def stands(model, found, y):
    return model(found).argmax(1) == y


def alike(found, wanted, model, y):
    """The same verdicts, and the same images where one was turned."""
    one, other = stands(model, found, y), stands(model, wanted, y)
    assert torch.equal(one, other)
    assert 0 < int(one.sum()) < IMAGES, "an ε at which all stand, or none, tells nothing"
    assert torch.allclose(found[~one], wanted[~one], rtol=0, atol=1e-6)  # it rounds what it draws to float32


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.04), ("l2", 0.25)])
def test_apgd_on_the_cross_entropy(subject, norm, eps):
    model, x, y = subject
    attack = Attack(name="apgd-ce", kind="apgd", norm=norm, eps=eps, steps=30)
    found = run_attack(attack, model, x, y, seed=5)
    alike(found, slow.apgd(model, x, y, eps=eps, steps=30, norm=norm, seed=5), model, y)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.04), ("l2", 0.25)])
def test_targeted_apgd(subject, norm, eps):
    """In L2 too each image has a size of its steps of its own: torchattacks' targeted class takes the first one's."""
    model, x, y = subject
    attack = Attack(name="apgd-t", kind="apgdt", norm=norm, eps=eps, steps=20, targets=3)
    found = run_attack(attack, model, x, y, seed=5)
    alike(found, slow.apgd(model, x, y, eps=eps, steps=20, norm=norm, seed=5, targets=3), model, y)


class InFloat64(nn.Module):
    """FAB computes in float32: the network answers in float64 and is rounded at its two ends."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.double()).float()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.04), ("l2", 0.25)])
def test_targeted_fab(subject, norm, eps):
    model, x, y = subject
    x, y = x[:6], y[:6]
    attack = Attack(name="fab-t", kind="fab", norm=norm, eps=eps, steps=10, targets=3)
    found = run_attack(attack, InFloat64(model), x.float(), y, seed=5).double()
    wanted = torch.tensor(slow.fab(model, x.float().double(), y, eps=eps, steps=10, norm=norm), dtype=x.dtype)
    clear = (wanted / eps - 1).abs() > 0.01  # on which side of ε rounding does not decide
    turned = (found != x.float().double()).flatten(1).any(1)
    assert torch.equal(turned[clear], (wanted <= eps)[clear]) and int(clear.sum()) >= len(x) - 2
    assert 0 < int(turned.sum()) < len(x)
    delta = (found - x.float().double()).flatten(1)
    far = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    both = turned & (wanted <= eps)
    assert torch.allclose(far[both], wanted[both], rtol=1e-3)


@pytest.mark.parametrize(("norm", "eps", "side"), [("linf", 0.06, 6), ("l2", 3.0, 10)])
def test_square(subject, norm, eps, side):
    """Windows in L2 need ten pixels: one side of them, of a batch's, has all their sizes from nine to three."""
    model, x, y = subject if side == 6 else subject_of(side)
    attack = Attack(name="square", kind="square", norm=norm, eps=eps, steps=80, loss="margin")
    found = run_attack(attack, model, x, y, seed=5)
    alike(found, slow.square(model, x, y, eps=eps, queries=80, norm=norm, seed=5), model, y)


@pytest.fixture(scope="module")
def in_l1():
    from surgeon.errors import MissingPackageError
    from surgeon.evaluation.attacks.adv_lib import adv_lib

    try:
        return adv_lib("attacks.auto_pgd")
    except MissingPackageError as error:
        pytest.skip(str(error))


def projected(images, deltas, eps):
    return torch.stack([slow_l1.onto(x, d, float(e)) for x, d, e in zip(images, deltas, eps, strict=True)])


def test_the_projection_that_auto_pgd_uses_in_l1(in_l1):
    torch.manual_seed(0)
    x, delta = torch.rand(20, 2, 6, 6), torch.randn(20, 2, 6, 6)
    eps = torch.logspace(-1, 1.5, 20)
    found = in_l1.l1_projection(x, delta, eps)
    assert torch.allclose(found.double(), projected(x.double(), delta.double(), eps), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "how"), [("apgd", {"restarts": 2}), ("apgdt", {"targets": 3})])
def test_auto_pgd_in_l1(subject, in_l1, monkeypatch, kind, how):
    """One projection for both: what it rounds decides how many pixels have changed, and so how many move next."""
    monkeypatch.setattr(in_l1, "l1_projection", projected)
    model, x, y = subject
    x, y = x[:6], y[:6]
    found = run_attack(Attack(name=kind, kind=kind, norm="l1", eps=1.0, steps=20, **how), model, x, y, seed=5)
    alike(found, slow_l1.apgd(model, x, y, eps=1.0, steps=20, seed=5, **how), model, y)


def test_targeted_auto_pgd_in_l1_ends_at_any_wrong_class(in_l1):
    """The class that is aimed at is never the largest; another wrong one lies on the way."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 4))
    model[1].weight.data.copy_(torch.tensor([[0.0], [0.1], [1.0], [-50.0]]))
    model[1].bias.data.copy_(torch.tensor([0.2, 0.15, 0.0, 0.1]))
    x, y = torch.full((3, 1, 1, 1), 0.1), torch.zeros(3, dtype=torch.long)
    assert model(x).argsort(descending=True)[0].tolist() == [0, 1, 2, 3]
    attack = Attack(name="t", kind="apgdt", norm="l1", eps=0.3, steps=20, targets=1, loss="dlr")
    found = run_attack(attack, model, x, y, seed=0)
    assert (model(found).argmax(1) == 2).all()
