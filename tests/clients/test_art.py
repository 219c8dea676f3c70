"""adversarial-robustness-toolbox (ART): its classifier and an attack of its own."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("art")

from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier


def test_attacks(network, images):
    """`PyTorchClassifier`: predictions, loss gradients, projected gradient descent"""
    classifier = PyTorchClassifier(
        network,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=5,
        clip_values=(0, 1),
        device_type="cpu",
    )
    x = images.numpy()
    with torch.no_grad():
        said = network(images)
    assert np.array_equal(classifier.predict(x), said.numpy())
    target = said.argmax(1)
    coded = nn.functional.one_hot(target, 5).numpy()
    asked = images.clone().requires_grad_(True)
    (wanted,) = torch.autograd.grad(
        nn.functional.cross_entropy(network(asked), target, reduction="sum"), asked
    )
    given = torch.from_numpy(classifier.loss_gradient(x, coded))
    cosine = nn.functional.cosine_similarity(given.flatten(1), wanted.flatten(1))
    assert cosine.min() > 0.999
    found = torch.from_numpy(
        ProjectedGradientDescent(
            classifier, eps=8 / 255, eps_step=2 / 255, max_iter=5, verbose=False
        ).generate(x, coded)
    )
    assert (found - images).abs().max() <= 8 / 255 + 1e-6
    exact = copy.deepcopy(network).double()
    with torch.no_grad():  # a network without training hardly moves: float32 may round the difference away
        before, after = (nn.functional.cross_entropy(exact(v.double()), target) for v in (images, found))
    assert after > before
