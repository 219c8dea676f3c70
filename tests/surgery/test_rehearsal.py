"""`apply` hands over no network that it has not run."""

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from surgeon.graph.rewritten.network import Rewritten
from surgeon.methods.controls.noise_layer import GaussianNoise
from surgeon.surgery import measuring
from tests.own_models.checks import SIZE, Plain, images


@pytest.fixture
def broken(monkeypatch):
    """A fault in what a cut makes, not in graphs without layers: the graph's last value is asked for an attribute
    that it lacks."""
    compile_ = Rewritten._regenerate

    def regenerate(self):
        for graph in self.__dict__.get("_programs", {}).values() if self._points else ():
            end = next(n for n in graph.nodes if n.op == "output")
            if not any(n.target is getattr for n in graph.nodes):
                with graph.inserting_before(end):
                    end.args = (graph.call_function(getattr, (end.args[0], "last_hidden_state")),)
        return compile_(self)

    monkeypatch.setattr(Rewritten, "_regenerate", regenerate)


RECIPES = ["noise", "anl", "kmp", "defective"]  # kept, kept, destroyed, approximated


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("calibrated", [False, True])
def test_a_network_that_does_not_run_is_an_error_of_apply(broken, recipe, calibrated):
    with pytest.raises(
        SurgeryError, match=r"rewritten Plain does not run on images of \(3, 8, 8\).*last_hidden_state"
    ):
        surgeon.apply(
            Plain(), recipe, input_size=SIZE, calibration=torch.randn(16, *SIZE) if calibrated else None
        )


def test_a_dear_network_is_run_without_numbers(broken, monkeypatch):
    monkeypatch.setattr(measuring, "CHEAP", 0)
    with pytest.raises(SurgeryError, match="does not run"):
        surgeon.apply(Plain(), "noise", input_size=SIZE)


@pytest.mark.parametrize("cheap", [0, 2e9])
def test_it_leaves_numbers_buffers_modes_and_random_streams_alone(monkeypatch, cheap):
    class Counts(Plain):
        def __init__(self):
            super().__init__()
            self.counter = Counter()

        def forward(self, x):
            return self.counter(super().forward(x))

    monkeypatch.setattr(measuring, "CHEAP", cheap)
    model = Counts().train()
    model.norm.eval()
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    cut = surgeon.apply(model, "noise", input_size=SIZE)
    assert torch.equal(torch.rand(3), wanted)
    assert cut.training and not cut.norm.training and cut.conv.training
    assert int(cut.counter.calls) == int(model.counter.calls) == 0
    first = surgeon.apply(model, "noise", input_size=SIZE, seed=5)
    monkeypatch.setattr("surgeon.surgery.measuring.rehearsed", lambda model, attempt: attempt)
    second = surgeon.apply(model, "noise", input_size=SIZE, seed=5)
    torch.manual_seed(1)
    one = first(images())
    torch.manual_seed(1)
    assert torch.equal(one, second(images()))


class Counter(nn.Module):
    """Counts its calls in a buffer, and draws in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return x + torch.rand_like(x) * 0


def test_a_stock_network_that_does_not_run_either_is_no_fault_of_the_cut():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)
            self.head = nn.Linear(16 * 6 * 6, 2)

        def forward(self, x):
            return self.head(self.conv(x).flatten(1))

    model = Small()
    model.pretrained_cfg = {"input_size": (3, 12, 12)}
    cut = surgeon.apply(model, "noise")
    assert any("does not run on one image" in n.text for n in cut.surgery.notes)


def test_no_size_is_no_run():
    cut = surgeon.apply(timm.create_model("resnet18", num_classes=2, pretrained_cfg={}), "anl")
    assert cut.surgery.edits


def test_a_layer_that_fails_on_a_second_image_is_found(monkeypatch):
    def across(layer, x):  # a view across the memory is one for a single image
        return x.transpose(0, 1).view(-1).view_as(x)

    monkeypatch.setattr(GaussianNoise, "forward", across)
    with pytest.raises(SurgeryError, match="does not run on images of.*view size is not compatible"):
        surgeon.apply(Plain(), "noise", input_size=SIZE)
