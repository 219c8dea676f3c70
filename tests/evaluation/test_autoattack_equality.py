"""The four attacks of AutoAttack's standard version against a slow reference of them, image by image in float64."""

import pytest
import torch
from torch import nn

from surgeon.evaluation import Attack
from surgeon.evaluation.attacks.dispatch import run_attack
from tests.reference import autoattack as slow

pytest.importorskip("torchattacks")
CLASSES, IMAGES = 6, 10


@pytest.fixture(scope="module")
def subject():
    """A small network without ties and kinks, in float64, and images that it gets right."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, CLASSES)
    ).double()
    with torch.no_grad():
        model[3].weight.mul_(3)
    x = 0.1 + 0.8 * torch.rand(IMAGES, 2, 6, 6, dtype=torch.float64)
    return model.requires_grad_(False).eval(), x, model(x).argmax(1)


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


def test_targeted_apgd(subject):
    model, x, y = subject
    attack = Attack(name="apgd-t", kind="apgdt", eps=0.04, steps=20, targets=3)
    found = run_attack(attack, model, x, y, seed=5)
    alike(found, slow.apgd(model, x, y, eps=0.04, steps=20, seed=5, targets=3), model, y)


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


def test_square(subject):
    model, x, y = subject
    attack = Attack(name="square", kind="square", eps=0.06, steps=80, loss="margin")
    found = run_attack(attack, model, x, y, seed=5)
    alike(found, slow.square(model, x, y, eps=0.06, queries=80, seed=5), model, y)
