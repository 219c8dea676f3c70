"""The conformance suite looks at both plans, and names the method of an operation that answers wrong."""

from typing import Literal

import pytest
import torch
from torch import nn

from surgeon.errors import VerificationError
from surgeon.methods import (
    Cut,
    Edit,
    Growth,
    Operation,
    OptionalState,
    Paper,
    Proposal,
    Traits,
    Wanted,
    registry,
)
from surgeon.testing import check_operation

SIZE = (3, 8, 8)


class Mixed(OptionalState):
    def __init__(self, channels, share=1.0):
        super().__init__()
        self.mix = nn.Parameter(torch.ones(channels))
        self.register_buffer("share", torch.tensor(share))

    def forward(self, x):
        return x * (1 + self.share * self.mix.view(-1, 1, 1))


class Mixing(Operation):
    """Scale channels behind a convolution; by what `fit` finds only where there are images."""

    op: Literal["mixing"] = "mixing"
    start: Literal["given", "fitted", "anneal"] | None = None

    def propose(self, sites, context):
        start = self.start or ("fitted" if context.calibrated else "given")
        return Proposal(
            tuple(
                Edit(
                    site=s.name,
                    operation=self.op,
                    layer=f"{s.name}.mixing",
                    settings={"channels": s.channels, "start": start},
                    effect="exact" if start == "anneal" else "approximated",
                    traits=Traits(),
                    growth=Growth(parameters=s.channels, buffers=1),
                    folds=False,
                    note="for the test",
                )
                for s in self.chosen(sites).sites
            )
        )

    def build(self, edit, module, generator):
        return Cut(layer=Mixed(edit.settings["channels"], 0.0 if edit.settings["start"] == "anneal" else 1.0))

    def needs_images(self, edit):
        return "start 'fitted'" if edit.settings["start"] == "fitted" else ""

    def fit(self, edit, seen):
        seen.layer.mix.data.fill_(0.9)
        seen.layer.filled("mix")
        return 0.1

    def anneal(self, edit, layer, progress):
        layer.share.fill_(progress)


class Nan(nn.Module):
    def forward(self, x):
        return x * float("nan")


class Raising(nn.Module):
    def forward(self, x):
        raise ValueError("boom")


class RaisingInTraining(Mixed):
    def forward(self, x):
        if self.training:
            raise ValueError("boom")
        return super().forward(x)


def of_function(channels):
    class Local(Mixed):
        """A layer whose class no pickle finds again."""

    return Local(channels)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


def check(network, monkeypatch, answers, **settings):
    cls = type("Mixing", (Mixing,), {**answers, "__module__": __name__, "__qualname__": "Mixing"})
    monkeypatch.setitem(registry._shipped(), "mixing", cls)
    return check_operation({"op": "mixing", **settings}, network, input_size=SIZE)


def fit(text):
    scope = {"torch": torch}
    exec(f"def fit(self, edit, seen):\n    {text}", scope)  # noqa: S102
    return {"fit": scope["fit"]}


WRONG = {
    "fit: shape": (fit("seen.layer.mix.data.copy_(torch.zeros(3))"), {}, "mixing at 0, fit: RuntimeError"),
    "fit: NaN": (fit("seen.layer.mix.data.fill_(float('nan'))"), {}, "fit: it wrote .*not finite"),
    "fit: name": (fit("seen.layer.filled('nosuch')"), {}, "fit: Mixed has no parameter or buffer 'nosuch'"),
    "calibrate: name": (
        {
            "observe": lambda self, edit: Wanted(edit.settings["channels"]),
            "calibrate": lambda self, edit, layer, statistics: layer.filled("nosuch"),
        },
        {},
        "mixing at 0, calibrate: Mixed has no parameter or buffer 'nosuch'",
    ),
    "needs_images: True": (
        {"needs_images": lambda self, edit: True},
        {},
        "needs_images of mixing: it gives True at 0: a few words",
    ),
    "surrogate: NaN": (
        {"surrogate": lambda self, edit, layer: Nan()},
        {},
        "surrogate of 0.mixing gives values",
    ),
    "surrogate: raises": (
        {"surrogate": lambda self, edit, layer: Raising()},
        {},
        "surrogate of 0.mixing raises ValueError: boom",
    ),
    "surrogate: no module": (
        {"surrogate": lambda self, edit, layer: 3},
        {},
        "surrogate of mixing: it gives 3 for 0.mixing: a module",
    ),
    "anneal: nothing": (
        {"anneal": lambda self, edit, layer, progress: None},
        {"start": "anneal"},
        "anneal of mixing: nothing of 0.mixing changes",
    ),
    "share_of_effect": (
        {"share_of_effect": lambda self, edit, layer: 0.5},
        {"start": "anneal"},
        "share_of_effect of mixing: it gives 0.5 for 0.mixing at progress 1",
    ),
    "anneal: start": (
        {"anneal": lambda self, edit, layer, progress: layer.share.fill_(1 - progress)},
        {"start": "anneal"},
        "anneal of mixing: the output at progress 0 differs",
    ),
    "anneal: missing": (
        {"anneal": Operation.anneal},
        {"start": "anneal"},
        "anneal of mixing: NotImplementedError",
    ),
    "a layer that only evaluates": (
        {
            "build": lambda self, edit, module, generator: Cut(
                layer=RaisingInTraining(edit.settings["channels"])
            )
        },
        {},
        "the network in training mode: .*boom",
    ),
    "a layer of a class in a function": (
        {"build": lambda self, edit, module, generator: Cut(layer=of_function(edit.settings["channels"]))},
        {},
        "a pickle of the network: .*Local",
    ),
    "folds without fold": (
        {
            "propose": lambda self, sites, context: Proposal(
                tuple(
                    e.model_copy(update={"folds": True}) for e in Mixing.propose(self, sites, context).edits
                )
            )
        },
        {},
        "fold: Mixing says that it folds, and has no method fold",
    ),
    "tables: arguments": (
        {"paper": classmethod(lambda cls: Paper("mixing", "linf", 0.1, lambda sources: []))},
        {},
        r"paper of mixing, tables\(sources=\(\), seed=0\): TypeError",
    ),
}


@pytest.mark.parametrize(("answers", "settings", "complaint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_named(answers, settings, complaint, network, monkeypatch):
    with pytest.raises(VerificationError, match=complaint):
        check(network, monkeypatch, answers, **settings)


def test_both_plans_are_carried_out_and_that_without_images_is_returned(network, monkeypatch):
    fitted = []

    def noted(self, edit, seen):
        fitted.append(edit.site)
        return Mixing.fit(self, edit, seen)

    cut = check(network, monkeypatch, {"fit": noted})
    assert fitted and cut.surgery.edits[0].settings["start"] == "given"
    fitted.clear()
    check(network, monkeypatch, {"fit": noted}, start="given")
    assert not fitted


def test_what_anneals_as_it_should_passes(network, monkeypatch):
    assert check(network, monkeypatch, {}, start="anneal").surgery.edits
