"""The watch over code while it is traced: what it sees, what it leaves as it was, and what a plan says of it."""

import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeonError
from surgeon.graph.tracing.trace import trace
from tests.own_models.losing import DRAWING, SIZE, Base, Drawing, Frozen, body, images

WATCHED = [(torch, "is_grad_enabled"), (torch.no_grad, "__enter__"), (torch.autocast, "__exit__")]


class Waiting(Base):
    """While it is traced, another thread does what it must not do itself."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x):
        done = []

        def other():
            with torch.no_grad(), torch.autocast("cpu"):
                done.append((torch.is_grad_enabled(), random.random(), torch.rand(1), np.random.rand()))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(timeout=0.2)  # numpy's numbers may have to wait for the trace
        return self.fc(self.features(x))


def test_what_other_threads_do_meanwhile_is_theirs():
    found = trace(Waiting())
    assert not found.opaque
    assert [n.target for n in found.eval.nodes if n.op == "call_module"] == [
        "body.0",
        "body.1",
        "body.2",
        "body.3",
        "fc",
    ]


@pytest.mark.parametrize(
    "make", [Base, Frozen, lambda: Drawing(DRAWING["random"]), lambda: Drawing(DRAWING["numpy"])]
)
def test_what_is_patched_is_as_before_also_after_an_error(make):
    import sys

    before, profile = [getattr(owner, name) for owner, name in WATCHED], sys.getprofile()
    with pytest.raises(SurgeonError):
        trace(make())
    assert [getattr(owner, name) for owner, name in WATCHED] == before
    assert sys.getprofile() is profile
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert not torch.is_grad_enabled()
    assert np.random.rand() >= 0


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3)

    def forward(self, x):
        return self.conv(x) * (random.random() if self.training else 1)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.noisy, self.fc = body(), Noisy(), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.noisy(self.body(x)).mean((2, 3)))


def test_the_plan_says_which_line_keeps_a_module_from_being_cut():
    plan = surgeon.plan(Mixed(), "noise", input_size=SIZE)
    assert [e.site for e in plan.edits] == ["input", "body.0", "body.3"]
    (passed,) = [p for p in plan.passed_over if p.site == "noisy.conv"]
    assert "draws numbers by random" in passed.reason
    assert "test_watch.py" in passed.reason
    with pytest.raises(
        SurgeonError, match="has no part that torch.fx can follow: .* draws numbers by random"
    ):
        surgeon.apply(Noisy(), "noise", input_size=(16, 8, 8))


def test_what_stays_whole_in_training_does_in_evaluation():
    found = trace(Mixed())
    for graph in (found.train, found.eval):
        assert [n.target for n in graph.nodes if n.op == "call_module"][-2:] == ["noisy", "fc"]


class Two(Base):
    """A constant for each mode, made on the way."""

    def forward(self, x):
        h = self.fc(self.features(x))
        return h * (torch.tensor(2.0) if self.training else torch.tensor(3.0)) + torch.tensor(1.0)


def test_each_mode_keeps_its_own_constants():
    net = Two()
    cut = surgeon.apply(net, "anl", input_size=SIZE)
    for training in (False, True, False):
        assert torch.equal(net.train(training)(images()), cut.train(training)(images()))
    found = trace(net).constants
    assert sorted(v.item() for v in found.values()) == [1.0, 2.0, 3.0]


class Lying(Base):
    """Decides by how the images lie in memory."""

    def forward(self, x):
        y = self.features(x)
        return self.fc(y * 2 if x.is_contiguous(memory_format=torch.channels_last) else y)


class Striding(Base):
    def forward(self, x):
        return self.fc(self.features(x) * (2 if x.stride(1) == 1 else 1))


@pytest.mark.parametrize("kind", [Lying, Striding])
def test_code_that_decides_by_the_layout_in_memory_is_kept(kind):
    stock = kind().eval()
    cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=SIZE).eval()
    x = images(2)
    for given in (x, x.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(cut(given), stock(given))
    assert not torch.equal(stock(x), stock(x.to(memory_format=torch.channels_last)))
