"""Speeds are medians of alternating turns, with the range of their factor."""

import pytest
import torch
from torch import nn

from surgeon.evaluation.diagnostics import speed


class Clock:
    now = 0.0


class Takes(nn.Module):
    """Takes the seconds of a list, call by call, on a clock of the test's."""

    def __init__(self, seconds, calls, name):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds, self.calls, self.name = iter(seconds), calls, name

    def forward(self, x):
        self.calls.append(self.name)
        Clock.now += next(self.seconds)
        return x


def test_one_disturbed_turn_moves_the_range_and_not_the_median(monkeypatch):
    monkeypatch.setattr(speed.time, "perf_counter", lambda: Clock.now)
    calls = []
    one = Takes([9, 2, 2, 2, 20, 2], calls, "one")  # the first turn warms up; a later one is disturbed
    other = Takes([9, 1, 1, 1, 1, 1], calls, "other")
    found = speed.images_per_second([one, other], torch.zeros(8, 1), repeats=5)
    assert found.medians == (4.0, 8.0)
    assert found.factor == pytest.approx((0.5, 0.05, 0.5))
    assert calls.count("one") == calls.count("other") == 6
    assert {calls[0], calls[2]} == {"one", "other"}  # who is first changes
    assert speed.images_per_second([Takes([1] * 3, [], "")], torch.zeros(8, 1), repeats=2).factor is None
