"""Noise on activations at inference: behind which layers it comes."""

import pytest
import torch

import surgeon
from surgeon.evaluation import noise_table
from surgeon.evaluation.beyond.under_noise import _noisy_activations


def test_activation_noise_of_a_pooled_network_comes_after_its_pooling(tiny):
    cut = surgeon.apply(tiny, "kap", input_size=(3, 8, 8))
    with _noisy_activations(cut, 0.1):
        assert {n for n, m in cut.named_modules() if m._forward_hooks} == {"conv1.kap", "conv2.kap"}
    with _noisy_activations(tiny, 0.1):
        assert {n for n, m in tiny.named_modules() if m._forward_hooks} == {"conv1", "conv2"}


def test_activation_noise_of_weight_maps_comes_after_them(tiny):
    for settings, places in (({}, {"conv1", "conv2"}), ({"start": "anneal"}, {"conv1", "conv2"})):
        cut = surgeon.apply(tiny, {"op": "weight-map", **settings}, input_size=(3, 8, 8))
        with _noisy_activations(cut, 0.1):
            assert {n for n, m in cut.named_modules() if m._forward_hooks} == places


def test_a_network_without_convolutions_has_no_rows_with_noise_inside():
    model, (x, y) = (
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)),
        (torch.rand(4, 3, 2, 2), torch.arange(4) % 3),
    )
    with pytest.warns(UserWarning, match="noise on activations is left out: it is added behind convolutions"):
        rows = noise_table(model, x, y)
    assert [(r.input_noise, r.activation_noise) for r in rows] == [(False, False), (True, False)]
