"""What an operation's own `fit` does wrong is an error with operation, site and method, before starts are compared."""

from typing import Literal

import pytest
import torch
from torch import nn

import surgeon
from surgeon.methods import Cut, Edit, Growth, Operation, OptionalState, Proposal, Traits, registry


class Mixed(OptionalState):
    def __init__(self, channels):
        super().__init__()
        self.mix = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x * self.mix.view(-1, 1, 1)


class Mixing(Operation):
    """Scale channels behind a convolution by what `fit` finds, where there are images."""

    op: Literal["mixing"] = "mixing"

    def propose(self, sites, context):
        start = "fitted" if context.calibrated else "given"
        return Proposal(
            tuple(
                Edit(
                    site=s.name,
                    operation=self.op,
                    layer=f"{s.name}.mixing",
                    settings={"channels": s.channels, "start": start},
                    effect="approximated",
                    traits=Traits(),
                    growth=Growth(parameters=s.channels),
                    folds=False,
                    note="for the test",
                )
                for s in self.chosen(sites).sites
            )
        )

    def build(self, edit, module, generator):
        return Cut(layer=Mixed(edit.settings["channels"]))

    def needs_images(self, edit):
        return "start 'fitted'" if edit.settings["start"] == "fitted" else ""

    def fit(self, edit, seen):
        seen.layer.mix.data.fill_(0.9)
        seen.layer.filled("mix")
        return 0.1


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


def apply_with(fit, network, monkeypatch):
    cls = type("Mixing", (Mixing,), {"fit": fit, "__module__": __name__})
    monkeypatch.setitem(registry._shipped(), "mixing", cls)
    return surgeon.apply(
        network, {"op": "mixing"}, input_size=(3, 8, 8), calibration=torch.randn(16, 3, 8, 8)
    )


def of_shape(self, edit, seen):
    seen.layer.mix.data = torch.ones(3)


def of_other_numbers(self, edit, seen):
    seen.layer.mix.data.copy_(torch.zeros(3))


def not_a_number(self, edit, seen):
    seen.layer.mix.data.fill_(float("nan"))


def no_such_name(self, edit, seen):
    seen.layer.filled("nosuch")


WRONG = {
    of_shape: r"layer.mix has the shape \(3,\) afterwards and had \(4,\)",
    of_other_numbers: "RuntimeError: ",
    not_a_number: "it wrote values into layer.mix that are not finite",
    no_such_name: "Mixed has no parameter or buffer 'nosuch'; valid: 'mix'",
    (lambda self, edit, seen: "good"): r"it returned 'good' \(a str\); return the relative error",
    (lambda self, edit, seen: float("nan")): "the error that it returned is nan",
    (lambda self, edit, seen: seen.inputz): "AttributeError: .*inputz",
}


@pytest.mark.parametrize(("fit", "complaint"), WRONG.items(), ids=range(len(WRONG)))
def test_a_fit_that_does_wrong_is_named(fit, complaint, network, monkeypatch):
    with pytest.raises(surgeon.SurgeonError, match=f"^mixing at 0, fit: {complaint}"):
        apply_with(fit, network, monkeypatch)


def test_a_number_of_torch_is_a_number(network, monkeypatch):
    def fit(self, edit, seen):
        Mixing.fit(self, edit, seen)
        return torch.tensor(0.25)

    cut = apply_with(fit, network, monkeypatch)
    assert cut.surgery.execution.residuals in ({}, {"0": 0.25})
