"""The attacker who knows the surgery: networks made from its record, the strongest found, and what the cut adds."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import held_out, images
from surgeon.edits import Edit, Traits
from surgeon.errors import ArgumentError, ArtifactError
from surgeon.evaluation import assess
from surgeon.evaluation.adaptive import record_networks
from surgeon.evaluation.adaptive.record_networks import Borrowed, known_from
from surgeon.evaluation.adaptive.stand_in import through
from surgeon.evaluation.adaptive.surrogates import Given, Yielding
from surgeon.evaluation.engine import blocks
from surgeon.evaluation.engine.subject import of_pixels
from surgeon.evaluation.unread import unread
from surgeon.methods import registry
from surgeon.methods.base import Cut, Proposal
from surgeon.numerals import points_with_interval
from surgeon.recipe import Evaluation
from surgeon.results.from_record import GRADIENT, SURROGATES, UNCUT
from surgeon.results.gain import Tried, gained
from surgeon.results.statistics import wilson
from surgeon.results.threat import Attack
from surgeon.results.verdict import Outcome, Verdict
from surgeon.testing import check_operation

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")
BASIC = Evaluation(attacks=("pgd",), steps=20, eps=0.1)


class Rounded(nn.Module):
    """Values rounded to multiples of `step`: no gradient comes through."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, x):
        return (x / self.step).round() * self.step


class Rounding(surgeon.Operation):
    """Rounds what activations give."""

    op: Literal["rounding"] = "rounding"
    kind = "activation"
    step: float = 0.05

    def propose(self, sites, context):
        edits = [
            Edit(
                site=s.name,
                operation=self.op,
                layer=f"{s.name}.rounding",
                settings={"step": self.step},
                effect="approximated",
                traits=Traits(linear=False),
                folds=False,
                note="rounding is not linear",
            )
            for s in self.chosen(sites).sites
        ]
        return Proposal(tuple(edits), ())

    def build(self, edit, module, generator):
        return Cut(layer=Rounded(edit.settings["step"]))


class Point:
    """An entry point of a package that is not installed."""

    value = "here:Rounding"

    def load(self):
        return Rounding


@pytest.fixture(autouse=True)
def plugged(monkeypatch):
    monkeypatch.setattr(registry, "_plugged", lambda: {"rounding": Point()})


def cut_of(model, recipe=None):
    return surgeon.apply(model, recipe or {"op": "rounding"}, input_size=(1, 8, 8))


def test_a_value_has_the_gradient_of_what_stands_in_for_it():
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    value = (3 * x).round()
    found = through(value, x.sin())
    assert torch.equal(found, value)
    (gradient,) = torch.autograd.grad((found * torch.arange(5)).sum(), x)
    assert torch.equal(gradient, (torch.arange(5) * x.cos()).detach())


def test_surrogates_in_the_backward_pass_are_straight_through_by_hand(reader):
    """In float64, against the usual trick, h + (r(h) − h).detach(), written into the network by hand."""
    model, (x, y) = reader
    model, x = model.double(), x[:6].double()
    try:
        cut = cut_of(model)
        yielding = Yielding(cut, cut.surgery)
        layers = list(model)

        def by_hand(x, left_out):
            for layer in layers:
                x = layer(x)
                if isinstance(layer, nn.ReLU) and not left_out:
                    x = x + (Rounded(0.05)(x) - x).detach()
            return x

        for passes, left_out in (("backward", False), ("both", True)):
            found = []
            for one in (Given(yielding, ("rounding",), passes), lambda x, o=left_out: by_hand(x, o)):
                image = x.clone().requires_grad_(True)
                logits = one(image)
                loss = nn.functional.cross_entropy(logits, y[:6], reduction="sum")
                found.append((logits.detach(), torch.autograd.grad(loss, image)[0]))
            for mine, reference in zip(*found, strict=True):
                assert torch.allclose(mine, reference, rtol=1e-12, atol=1e-12)
        image = x.clone().requires_grad_(True)
        (itself,) = torch.autograd.grad(cut.eval()(image).sum(), image, allow_unused=True)
        assert itself is None or not itself.any()
        assert torch.equal(Given(yielding, ("rounding",), "backward")(x), cut.eval()(x))
    finally:
        model.float()


class Eased(nn.Module):
    """A layer's own values, with the identity's gradient: a stand-in that calls the layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + (self.layer(x) - x).detach()


class EasedRounding(Rounding):
    def surrogate(self, edit, layer):
        return Eased(layer)


@pytest.mark.parametrize("passes", ["backward", "both"])
def test_what_stands_in_for_a_layer_may_call_it(reader, monkeypatch, passes):
    model, (x, _) = reader
    monkeypatch.setattr(Point, "load", lambda self: EasedRounding)
    cut = check_operation({"op": "rounding"}, model, input_size=(1, 8, 8)).eval()
    image = x[:3].clone().requires_grad_(True)
    logits = Given(Yielding(cut, cut.surgery), ("rounding",), passes)(image)
    assert torch.allclose(logits, cut(x[:3]), atol=1e-5)
    assert torch.autograd.grad(logits[:, 1].sum(), image)[0].any()


def test_a_surrogate_of_the_same_values_is_tried_for_its_gradient(reader, monkeypatch):
    model, (x, _) = reader
    monkeypatch.setattr(Point, "load", lambda self: EasedRounding)
    cut = cut_of(model).eval()
    known = known_from(cut, cut.surgery, of_pixels(cut), x)
    assert SURROGATES + GRADIENT in known.sources and SURROGATES not in known.sources


def test_the_values_are_of_one_network_and_the_gradients_of_another(reader):
    model, (x, _) = reader
    cut = cut_of(model)
    subject, uncut = of_pixels(cut.eval()), of_pixels(model)
    both = Borrowed(subject, uncut)
    image = x[:3].clone().requires_grad_(True)
    assert torch.equal(both(image).detach(), subject(x[:3]))
    mine = torch.autograd.grad(both(image)[:, 1].sum(), image)[0]
    other = torch.autograd.grad(uncut(image)[:, 1].sum(), image)[0]
    assert torch.equal(mine, other) and mine.any()


def test_a_surgery_that_hides_gradients_adds_nothing_under_the_attacker_who_knows_it(reader, tmp_path):
    """The claim of a whole evaluation: what stands against the network alone falls to what its record tells."""
    model, (x, y) = reader
    found = assess(cut_of(model), x, y, BASIC, tmp_path / "e")
    gain = found.gain
    assert gain.chosen and gain.chosen.endswith(GRADIENT)
    assert gain.itself.k == found.summary.clean.k  # no gradient: nothing falls
    assert gain.worst.k <= gain.itself.k - 40 and found.summary.worst == gain.worst
    assert gain.uncut_clean.k >= 85 and gain.difference.high <= 0.1
    assert {t.source for t in gain.tried} == {
        UNCUT,
        UNCUT + GRADIENT,
        SURROGATES + GRADIENT,
    }  # surrogates in both passes compute the uncut network
    assert [t.share.k for t in gain.tried] == sorted(t.share.k for t in gain.tried)
    assert f"the attacker who knows the cut leaves {100 * gain.worst.value:.1f} %" in gain.text
    assert f"; of these stand: {gain.chosen} {gain.tried[0].share.k}, " in gain.trial
    row = next(r for r in found.summary.rows if r.attack == "adaptive-pgd")
    assert row.source == gain.chosen and row.group == "basic"
    assert assess(cut_of(model), x, y, BASIC, tmp_path / "e") == found
    without = assess(cut_of(model), x, y, BASIC.model_copy(update={"adaptive": False}), tmp_path / "f")
    assert without.gain is None and without.summary.worst.k == without.summary.clean.k


def test_an_interrupted_evaluation_goes_on_with_the_same_source(reader, tmp_path, monkeypatch):
    model, (x, y) = reader
    x, y = x[:24], y[:24]
    settings = Evaluation(suite="quick", eps=0.1, diagnostics=0, pictures=False)
    wanted = assess(cut_of(model), x, y, settings, tmp_path / "whole")
    run, done = blocks.run_attack, []

    def interrupted(attack, *given, **named):
        done.append(attack.name)
        if len(done) == 7:
            raise KeyboardInterrupt
        return run(attack, *given, **named)

    monkeypatch.setattr(blocks, "run_attack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        assess(cut_of(model), x, y, settings, tmp_path / "cut")
    monkeypatch.setattr(blocks, "run_attack", run)
    found = assess(cut_of(model), x, y, settings, tmp_path / "cut")
    assert (found.gain, found.summary) == (wanted.gain, wanted.summary)
    assert {"adaptive-apgd-ce", "adaptive-pgd"} <= {r.attack for r in found.summary.rows}


def test_a_stock_network_and_one_of_which_nothing_is_left_are_told_apart(reader, tmp_path):
    model, (x, y) = reader
    x, y = x[:16], y[:16]
    assert assess(model, x, y, BASIC, tmp_path / "stock").gain is None
    noisy = assess(cut_of(model, "anl"), x, y, BASIC, tmp_path / "anl")
    assert noisy.gain.chosen is None and not noisy.gain.tried
    assert noisy.gain.difference.difference == 0 and noisy.gain.difference.n == 16
    assert any("nothing of the surgery is left at inference" in note for note in noisy.notes)


def test_each_operation_alone_is_a_source_and_their_number_is_limited(reader, monkeypatch):
    model, (x, _) = reader
    cut = cut_of(model, [{"op": "rounding"}, {"op": "rounding", "step": 0.2}])
    subject = of_pixels(cut.eval())
    known = known_from(cut, cut.surgery, subject, x)
    assert (
        f"{SURROGATES} of rounding{GRADIENT}" in known.sources
        and f"{SURROGATES} of rounding#2" in known.sources
    )
    monkeypatch.setattr(record_networks, "MOST", 3)
    few = known_from(cut, cut.surgery, subject, x)
    assert list(few.sources) == list(known.sources)[:3] and "the first 3 were attacked" in few.notes[-1]


def test_another_setting_of_the_attacker_is_another_evaluation(reader, tmp_path):
    model, (x, y) = reader
    assess(cut_of(model), x[:8], y[:8], BASIC, tmp_path / "e")
    with pytest.raises(ArtifactError, match="other settings"):
        assess(cut_of(model), x[:8], y[:8], BASIC.model_copy(update={"adaptive_samples": 4}), tmp_path / "e")


def test_a_changed_gain_does_not_fit_its_verdicts(reader, tmp_path):
    from surgeon.pipeline.chain.attacks import attack_checks

    model, (x, y) = reader
    found = assess(cut_of(model), x[:32], y[:32], BASIC, tmp_path / "e")
    checks = {c.name: c for c in attack_checks(tmp_path / "e", found)}
    assert checks["gain"].ok and checks["gain"].detail == found.gain.text and checks["attacks"].ok
    other = found.gain.model_copy(update={"tried": found.gain.tried[:1]})
    (changed,) = [
        c for c in attack_checks(tmp_path / "e", found.model_copy(update={"gain": other})) if c.name == "gain"
    ]
    assert changed.ok is False and "gain: tried has 1 entries" in changed.detail


def outcome(right, standing):
    """Verdicts of images that are right as they are, and that stand under one attack."""
    attack = Attack(name="pgd", kind="own-pgd", eps=0.1, group="basic")
    shared = {"image": "", "label": 0, "clean": 0, "margin": 1.0}
    rows = [
        Verdict(example=i, attack="none", success=not r, prediction=int(not r), votes=float(r), **shared)
        for i, r in enumerate(right)
    ]
    rows += [
        Verdict(
            example=i,
            attack="pgd",
            group="basic",
            eps=0.1,
            success=not s,
            prediction=int(not s),
            votes=float(s),
            **shared,
        )
        for i, s in enumerate(standing)
        if right[i]
    ]
    return Outcome(tuple(rows), (attack,)), attack.threat


def test_an_uncut_network_that_does_not_work_any_more_is_no_base():
    """As where a network was trained after its convolutions were replaced: its own come back at a revert."""
    cut, main = outcome([True] * 50, [True] * 20 + [False] * 30)
    broken, _ = outcome([True] * 5 + [False] * 45, [True] * 2 + [False] * 48)
    gain = gained(cut, broken, main, ())
    assert gain.difference is None and "adds" not in gain.text and not gain.warning
    assert "the uncut network is right on 10.0 % of the images without any attack" in gain.text
    working, _ = outcome([True] * 48 + [False] * 2, [True] * 15 + [False] * 35)
    assert gained(cut, working, main, ()).difference.difference == pytest.approx(0.1)


@pytest.mark.parametrize(
    "itself, knowing, uncut, adds, hides",
    [
        (133, 125, 122, "the surgery adds +1.9 points [", False),  # the trial of MeanSparse: 83, 78 and 76 %
        (133, 122, 122, "the surgery adds +0.0 points [", True),
        (133, 110, 122, "the surgery adds −7.5 points [", True),
        (133, 133, 100, "the surgery adds +20.6 points [", False),
    ],
)
def test_the_first_line_tells_what_is_left_under_the_attacker_who_knows_the_cut(
    itself, knowing, uncut, adds, hides
):
    """Of 160 images. A line above the uncut network's never stands alone: the difference has its interval beside it."""
    cut, main = outcome([True] * 160, [k < itself for k in range(160)])
    known = cut.attacks[0].model_copy(update={"source": UNCUT})
    rows = [
        v.model_copy(update={"source": UNCUT, "success": v.example >= knowing}) for v in cut.verdicts[160:]
    ]
    both = Outcome((*cut.verdicts, *rows), (*cut.attacks, known))
    base, _ = outcome([True] * 160, [k < uncut for k in range(160)])
    gain = gained(both, base, main, (Tried(source=UNCUT, share=wilson(1, 2)),))
    assert (gain.itself.k, gain.worst.k, gain.uncut.k) == (itself, knowing, uncut)
    assert adds in gain.text.replace("\N{NO-BREAK SPACE}", " "), gain.text
    assert bool(gain.warning) == hides and ("hides gradients" in gain.warning) == hides


def test_a_source_cannot_have_the_name_of_one_from_the_record(reader, tmp_path):
    model, (x, y) = reader
    with pytest.raises(
        ArgumentError, match="source 'surrogates' has a name that the record's own sources have"
    ):
        assess(cut_of(model), x[:8], y[:8], BASIC, tmp_path / "e", sources={"surrogates": model})


def test_settings_of_the_attacker_are_read_where_there_is_a_record():
    fgsm = Evaluation(attacks=("fgsm",), steps=5, adaptive_samples=8)
    assert not unread(fgsm, cut=True)
    said = unread(fgsm)
    assert any("steps=5" in s for s in said) and any("adaptive_samples=8" in s for s in said)
    assert any("adaptive_samples" in s for s in unread(fgsm.model_copy(update={"adaptive": False}), cut=True))


def test_a_surrogate_of_another_shape_is_told(reader, monkeypatch):
    model, (x, _) = reader
    monkeypatch.setattr(Rounding, "surrogate", lambda self, edit, layer: nn.Flatten())
    cut = cut_of(model)
    known = known_from(cut, cut.surgery, of_pixels(cut.eval()), x)
    assert any("the surrogate gives another shape, and was not used" in note for note in known.notes)


@pytest.mark.filterwarnings("ignore::surgeon.errors.CalibrationWarning")
def test_mean_sparse_is_compared_with_its_base_as_that_stands_by_itself(shared, tmp_path):
    """The field's own case, with the base attacked in an evaluation of its own."""
    pytest.importorskip("pyarrow")
    data = shared / "data" / "cifar10-jpeg"
    network = surgeon.create_model(
        "zoo/cifar_resnet20", weights=shared / "weights" / "resnet20-12fca82f.th"
    ).eval()
    calibration = surgeon.models.normalized(images(next(data.glob("train*")), 128, (3, 32, 32)), network)
    test = held_out(str(next(data.glob("test*"))), (3, 32, 32), count=32)
    cut = surgeon.apply(network, {"op": "meansparse", "alpha": 0.3}, calibration=calibration)
    settings = BASIC.model_copy(update={"eps": 0.5 / 255})
    found = assess(cut, test.x, test.y, settings, tmp_path / "cut")
    base = assess(network, test.x, test.y, settings, tmp_path / "base").summary
    gain, row = found.gain, next(r for r in found.summary.rows if r.attack == "adaptive-pgd")
    assert (gain.uncut_clean, gain.uncut) == (base.clean, base.worst)
    assert row.source == gain.chosen == gain.tried[0].source and found.summary.worst == gain.worst
    assert gain.difference.difference == pytest.approx((gain.worst.k - base.worst.k) / 32)
    # What stands under the attacker who knows it is not above the base by more than the interval, or the page says so.
    assert (
        gain.difference.low <= 0 or f"the surgery adds {points_with_interval(gain.difference)}" in gain.text
    )
    assert gain.difference.low <= 0 or not gain.warning
