"""Indicators of attack failure, from the trace of a search: each where it must be told, and none on an honest model.

Trained networks, plain and hardened, are those of test_diagnostics, whose checks have these among them.
"""

import pytest
import torch
from torch import nn

from surgeon.evaluation import diagnose
from surgeon.evaluation.attacks.pgd import pgd
from surgeon.evaluation.diagnostics.traces import LATE, Trace, failures, seen
from surgeon.results.assessment import Diagnosis

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")
INDICATORS = {"silent-success", "incomplete-optimisation", "transfer-failure", "bad-initialisation"}
IMAGES = 40


def linear():
    """A model of two logits over 4×4 pixels, and images near grey that it gets right."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    x = (0.5 + 0.1 * torch.randn(IMAGES, 1, 4, 4)).clamp(0.2, 0.8)
    return model, x, model(x).argmax(1)


def told(model, x, y, eps, steps=50, **settings):
    """The indicators that fail after a search."""
    trace = Trace(len(x))
    found = pgd(
        model, x, y, eps=eps, steps=steps, generator=torch.Generator().manual_seed(0), watch=trace, **settings
    )
    given = seen(model, found, y, settings.get("eot", 1))
    with torch.no_grad():
        stands = model(found).argmax(1) == y
    checks = failures(trace, given, stands)
    assert {c.code for c in checks} == INDICATORS
    return {c.code for c in checks if c.failed}


def test_none_is_told_of_a_linear_model_whether_it_falls_or_stands():
    for eps in (1e-4, 0.02, 0.3):
        assert told(*linear(), eps) == set(), eps


class OtherWithGradients(nn.Module):
    """Answers the contrary where gradients are recorded."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return -self.model(x) if torch.is_grad_enabled() else self.model(x)


def test_a_network_that_answers_otherwise_while_it_is_attacked_is_a_transfer_failure():
    model, x, y = linear()
    assert told(OtherWithGradients(model), x, y, 1e-3) == {"transfer-failure"}


class LosesWhatItHad(nn.Module):
    """The second class wins in the second pass alone: what is found there is no more when it is looked at again."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        z = x.flatten(1).mean(1)
        lead = -1.0 if self.calls == 2 else 1.0
        return torch.stack([lead + 0 * z, 0.01 * z], 1)


def test_an_attack_that_passes_over_what_it_found_is_a_silent_success():
    x, y = 0.5 + 0.1 * torch.rand(IMAGES, 1, 4, 4), torch.zeros(IMAGES, dtype=torch.long)
    assert "silent-success" in told(LosesWhatItHad(), x, y, 0.01)


def test_the_iterate_of_the_largest_loss_may_be_right_where_another_was_not():
    """Without an early stop the cross-entropy chooses: 10 classes at 0.09 and the label at 0.1 have a larger one than
    the label at 0.45 and another at 0.55."""

    class Two(nn.Module):
        def forward(self, x):
            z = x.flatten(1).mean(1, keepdim=True)
            flat = torch.cat([torch.full_like(z, 0.1), torch.zeros(len(x), 9)], 1)
            sharp = torch.cat([torch.full_like(z, 5.0), torch.full_like(z, 5.2), torch.zeros(len(x), 8)], 1)
            fallen = ((z > 0.51) & (z < 0.52)).float()
            return flat + fallen * (sharp - flat) + 4 * (0.53 - z) * torch.eye(10)[0]

    x, y = torch.full((IMAGES, 1, 4, 4), 0.5), torch.zeros(IMAGES, dtype=torch.long)
    how = {"random_start": False, "step_size": 0.004}
    assert "silent-success" in told(Two(), x, y, 0.03, early_stop=False, **how)
    assert "silent-success" not in told(Two(), x, y, 0.03, early_stop=True, **how)


class Darkest(nn.Module):
    """A class that wins where the darkest pixel is bright: each step moves that one pixel alone."""

    def forward(self, x):
        darkest = x.flatten(1).amin(1)
        return torch.stack([torch.full_like(darkest, 0.62), darkest], 1) * 20


def test_a_search_that_ends_on_its_way_is_incomplete():
    torch.manual_seed(0)
    x, y = (0.5 + 0.001 * torch.rand(IMAGES, 1, 16, 16)), torch.zeros(IMAGES, dtype=torch.long)
    assert told(Darkest(), x, y, 0.1, random_start=False) == {"incomplete-optimisation"}
    few = x[:, :, :2, :2]  # four pixels come to the end of the ball in time
    assert told(Darkest(), few, y, 0.1, steps=200, random_start=False) == set()


class OnTheGrid(nn.Module):
    """Pixels that are not multiples of 1/255 are rounded, and have no gradient."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        near = (x * 255).round() / 255
        there = ((x - near).abs() < 1e-6).flatten(1).all(1).view(-1, 1, 1, 1)
        return self.model(torch.where(there, x, near.detach()))


def test_a_start_without_a_gradient_is_told_though_the_images_have_one():
    model, x, y = linear()
    x = (x * 255).round() / 255
    snapped = OnTheGrid(model)
    y = snapped(x).argmax(1)
    found = diagnose(snapped, x, y, eps=0.02)
    failed = {c.code for c in found.checks if c.failed}
    assert "bad-initialisation" in failed and "zero-gradients" not in failed


def test_a_rise_is_late_by_its_share_in_the_last_ten_iterates():
    trace, at = Trace(3), torch.arange(3)
    for k in range(51):
        loss = torch.tensor([float(k), min(k, 40.0), 1.0])
        trace(at, loss, torch.full((3,), -1.0), torch.ones(3, 1, 1, 1))
    assert torch.allclose(trace.late, torch.tensor([0.2, 0.0, 0.0])) and LATE < 0.2
    assert not trace.turned.any() and not trace.flat.any()


def test_a_random_network_is_answered_by_the_expectation_here_too():
    from surgeon.results.checked import Check

    checks = tuple(
        Check(code=c, measured={}, rule="", failed=True, reason=c)
        for c in ("two-passes", *sorted(INDICATORS))
    )
    found = Diagnosis(norm="linf", eps=0.1, images=9, random=True, checks=checks, expectation=True)
    assert found.reasons == (
        "bad-initialisation (bad-initialisation)",
        "incomplete-optimisation (incomplete-optimisation)",
    )
    assert len(found.model_copy(update={"expectation": False}).reasons) == 5
