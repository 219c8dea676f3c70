"""foolbox: its attacks on a network, by its own PyTorchModel."""

import copy

import pytest
import torch
from torch import nn

fb = pytest.importorskip("foolbox")


def test_attacks(network, images, labels):
    """`PyTorchModel`: projected gradient descent and the fast gradient method"""
    model = fb.PyTorchModel(network, bounds=(0, 1))
    with torch.no_grad():
        said = network(images)
        assert torch.equal(model(images), said)
    target, exact = said.argmax(1), copy.deepcopy(network).double()
    for attack in (fb.attacks.LinfPGD(steps=5, random_start=False), fb.attacks.LinfFastGradientAttack()):
        _, found, _ = attack(model, images, target, epsilons=8 / 255)
        assert (found - images).abs().max() <= 8 / 255 + 1e-6 and found.min() >= 0 and found.max() <= 1
        with (
            torch.no_grad()
        ):  # a network without training hardly moves: float32 may round the difference away
            before, after = (nn.functional.cross_entropy(exact(x.double()), target) for x in (images, found))
        assert after > before, "an attack that follows the gradient raises the loss"
