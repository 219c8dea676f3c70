"""Settings that were changed and are not read by an evaluation are told in its results."""

import pytest
import torch
from torch import nn

from surgeon.evaluation import assess, suite
from surgeon.evaluation.unread import unread
from surgeon.recipe import Evaluation

BASIC = {"suite": "basic", "attacks": ["fgsm"], "pictures": False}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"suite": "quick", "steps": 100}, "steps=100 has no part"),
        ({"suite": "standard", "attacks": ["pgd"], "steps": 7}, "attacks=[pgd] and steps=7 have no part"),
        (BASIC | {"steps": 100}, "no attack that was asked for makes steps"),
        ({"suite": "basic", "paper": "kap"}, "paper=kap has no part"),
        ({"suite": "quick", "certify_draws": 1000}, "certify names no noise"),
        ({"suite": "quick", "patches": [2]}, "curves need beyond=true"),
        ({"suite": "standard", "beyond": False, "uniform": [0.1]}, "curves need beyond=true"),
    ],
)
def test_what_is_not_read_is_named(settings, named):
    (said,) = unread(Evaluation(**settings))
    assert named in said


@pytest.mark.parametrize(
    "settings",
    [
        {"suite": "quick"},
        {"suite": "standard", "gaussian": [0.1]},
        {"suite": "quick", "beyond": True, "patches": [2]},
        {"suite": "basic", "attacks": ["pgd"], "steps": 7},
        {"suite": "basic", "certify": [0.1], "certify_draws": 1000},
        {"suite": "paper", "paper": "kap"},
    ],
)
def test_what_is_read_is_not(settings):
    assert unread(Evaluation(**settings)) == ()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"samples": 40}, "samples=40, and 12 images were given: all of them are evaluated"),
        (
            {"certify": [0.25], "certify_samples": 40},
            "certify_samples=40, and there are 12 images: all of them are certified",
        ),
        (
            {"diagnostics": 40},
            "diagnostics=40, and there are 12 images: all of them are used by the diagnostics",
        ),
        ({"adaptive_samples": 40}, "adaptive_samples=40, and there are 12 images: all of them are tried by"),
    ],
)
def test_more_images_than_there_are_is_told_with_their_number(more, said):
    (told,) = unread(Evaluation(**BASIC | more), cut=True, count=12)
    assert told.startswith(said)
    fits = {k: 12 if k != "certify" else v for k, v in more.items()}
    assert unread(Evaluation(**BASIC | fits), cut=True, count=12) == ()
    # What is the default is no wish of the caller's.
    assert unread(Evaluation(**BASIC, certify=[0.25]), cut=True, count=12) == ()


def test_settings_that_are_called_unread_change_no_attack():
    for name in ("quick", "standard"):
        assert suite(Evaluation(suite=name)) == suite(Evaluation(suite=name, steps=100, attacks=["pgd"]))


def test_a_source_that_nothing_is_transferred_from_is_named(tmp_path):
    pytest.importorskip("torchattacks")
    pytest.importorskip("pyarrow")
    network, source = (nn.Sequential(nn.Flatten(), nn.Linear(192, 3)) for _ in range(2))
    images, labels = torch.rand(12, 3, 8, 8), torch.arange(12) % 3
    found = assess(network, images, labels, Evaluation(**BASIC), tmp_path, sources={"other": source})
    assert [n for n in found.notes if "nothing was transferred from other" in n]
