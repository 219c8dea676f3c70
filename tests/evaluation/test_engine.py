"""The engine: valid verdicts, which depend on nothing but what is attacked."""

import pytest
import torch
from torch import nn

from surgeon.errors import SurgeonError, VerificationError
from surgeon.evaluation import Attack, Normalized, evaluate, evaluated, suite, summarize
from surgeon.evaluation.attacks.attacked import Attacked
from surgeon.evaluation.engine import blocks as engine
from surgeon.recipe import Evaluation
from surgeon.results.kinds import KINDS
from tests.evaluation.attacks_used import MIXED, PGD, same

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")


def test_a_verdict_for_every_image_and_the_model_is_left_alone(trained):
    model, (x, y) = trained
    model.train()
    model.model[1].eval()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    outcome = evaluate(model, x, y, MIXED, seed=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == modes
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    summary = summarize(outcome)
    assert summary.clean.n == 96
    assert summary.worst.k <= min(r.shares[0].k for r in summary.rows if r.norm == "linf") <= summary.clean.k
    assert {v.example for v in outcome if v.attack == "none"} == set(range(96))
    assert same(evaluate(model, x, y, MIXED, seed=1), outcome)
    model.eval()


def test_verdicts_agree_with_the_model(trained):
    """Clean predictions and margins against a forward; every image that is right is attacked once by what
    does not cascade."""
    model, (x, y) = trained
    outcome = evaluate(model, x, y, [PGD[0].model_copy(update={"cascade": False})])
    with torch.no_grad():
        logits = model(x)
    clean = [v for v in outcome if v.attack == "none"]
    assert [v.clean for v in clean] == logits.argmax(1).tolist()
    top = logits.topk(2).values
    right = logits.argmax(1) == y
    assert torch.allclose(
        torch.tensor([v.margin for v in clean])[right], (top[:, 0] - top[:, 1])[right], atol=1e-5
    )
    assert [v.example for v in outcome if v.attack == "pgd"] == right.nonzero().flatten().tolist()
    assert all(v.linf <= 0.1 + 1e-6 and v.queries > 0 for v in outcome if v.attack == "pgd")


def test_only_what_stands_is_attacked_next(trained):
    model, (x, y) = trained
    outcome = evaluate(model, x, y, MIXED)
    fallen = {v.example for v in outcome if v.attack == "fgsm" and v.success}
    later = {v.example for v in outcome if v.attack in ("apgd", "square")}
    assert fallen and not fallen & later
    l2 = {v.example for v in outcome if v.norm == "l2"}
    assert len(l2) == summarize(outcome).clean.k  # another threat begins anew


@pytest.mark.parametrize("batch_size", [1, 7, 33])
def test_the_batch_size_changes_no_verdict(exact, batch_size):
    model, (x, y) = exact
    one, other = evaluate(model, x, y, MIXED, batch_size=batch_size), evaluate(model, x, y, MIXED)
    rounded = {"seconds", "queries", "margin", "linf", "l2"}  # what follows the last bits of a convolution
    assert [v.model_dump(exclude=rounded) for v in one] == [v.model_dump(exclude=rounded) for v in other]


def test_the_order_of_blocks_changes_no_verdict(trained, monkeypatch):
    model, (x, y) = trained
    wanted = evaluate(model, x, y, MIXED)
    forward, backward = engine.rank(), lambda: 0
    assert forward == backward()
    monkeypatch.setattr(
        engine,
        "range",
        lambda *a: reversed(range(*a)) if len(a) == 3 and a[2] == 1 else range(*a),
        raising=False,
    )
    order = []
    attack = engine.run_attack
    monkeypatch.setattr(
        engine, "run_attack", lambda a, m, x, y, **k: (order.append(len(x)), attack(a, m, x, y, **k))[1]
    )
    assert same(evaluate(model, x, y, MIXED), wanted)
    assert order[0] < 64  # the last block, which is not full, came first


def test_pieces_give_the_gradient_of_the_whole():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 5)).double()
    x = torch.rand(7, 3, 8, 8, dtype=torch.float64)
    found = []
    for pieces in (None, 3):
        leaf = x.clone().requires_grad_(True)
        subject = Attacked(model, pieces)
        found.append(torch.autograd.grad(subject(leaf).square().sum(), leaf)[0])
        assert subject.queries == 7
    assert torch.allclose(*found, atol=1e-12)


def test_channels_last_models_are_attacked_like_others(trained):
    model, (x, y) = trained
    twin = Normalized(nn.Sequential(*list(model.model)).to(memory_format=torch.channels_last))
    attacks = [
        Attack(name="pgd", kind="pgd", eps=0.5, norm="l2", steps=3),
        Attack(name="fab", kind="fab", eps=0.5, norm="l2", steps=3, targets=2),
        Attack(name="square", kind="square", eps=0.5, norm="l2", steps=10),
    ]
    assert len(evaluate(twin, x[:16], y[:16], attacks)) > 16


def test_nothing_moves_at_eps_0(trained):
    """So that no attack is of that size, but the one that does nothing."""
    model, (x, y) = trained
    for kind in KINDS:
        if KINDS[kind].bounded and kind != "none":
            with pytest.raises(SurgeonError, match="pgd: eps=0 moves no pixel, .* give a size such as 8/255"):
                Attack(name="pgd", kind=kind, norm=KINDS[kind].norms[0], eps=8 // 255)
    summary = summarize(evaluate(model, x, y, [Attack(name="still", kind="none", eps=0.0)]))
    assert summary.robust["still"].k == summary.clean.k


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda x: x + 0.2, "left the ball|left the range"),
        (lambda x: x * float("nan"), "not finite"),
        (lambda x: x[:, :, :4], "of another shape"),
    ],
)
def test_an_invalid_adversarial_image_is_an_error_and_never_a_success(trained, monkeypatch, broken, message):
    model, (x, y) = trained
    monkeypatch.setattr(engine, "run_attack", lambda attack, model, x, y, **_: broken(x))
    with pytest.raises(VerificationError, match=message):
        evaluate(model, x, y, PGD)


def test_an_attacks_own_word_is_not_believed(trained, monkeypatch):
    """What an attack returns unchanged counts as standing, whatever it did."""
    model, (x, y) = trained
    monkeypatch.setattr(engine, "run_attack", lambda attack, model, x, y, **_: x.clone())
    summary = summarize(evaluate(model, x, y, PGD))
    assert summary.worst.k == summary.clean.k


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(classes):
    """Two and three classes, for which some losses do not exist."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, classes))
    x = torch.rand(20, 3, 2, 2)
    y = model(x).argmax(1)
    for name in ("quick", "standard"):
        attacks = suite(Evaluation(suite=name, eps=0.4), classes=classes)
        attacks = [a.model_copy(update={"steps": min(a.steps, 20)}) for a in attacks]
        found = summarize(evaluate(model, x, y, attacks))
        assert found.worst.k < 20
    one = Attack(name="pgd", kind="own-pgd", eps=0.4, steps=20, loss="margin", cascade=False)
    assert found.worst.k <= summarize(evaluate(model, x, y, [one])).worst.k
    with pytest.raises(SurgeonError, match="the model gives 1 class"):
        suite(Evaluation(suite="quick"), classes=1)


def test_everything_is_restored_when_an_attack_fails(trained, monkeypatch):
    model, (x, y) = trained
    model.train()

    def fail(*_, **__):
        raise RuntimeError("attack")

    monkeypatch.setattr(engine, "run_attack", fail)
    with pytest.raises(RuntimeError, match="attack"):
        evaluate(model, x, y, PGD)
    assert all(m.training for m in model.modules()) and all(p.requires_grad for p in model.parameters())
    model.eval()


def test_a_random_model_is_scored_over_many_draws(trained):
    """A model right in 70 % of its draws: by majority it is right; one draw would say otherwise for many images."""

    class Coin(nn.Module):
        def forward(self, x):
            logits = torch.full((len(x), 4), -1.0)
            logits[:, 0] = 1.0
            logits[:, 1] = 2.0 * (torch.rand(len(x)) < 0.3)
            return logits + 0 * x.sum((1, 2, 3))[:, None]

    x, y = torch.rand(32, 1, 4, 4), torch.zeros(32, dtype=torch.long)
    none = [Attack(name="none-at-all", kind="none", eps=0.0)]
    outcome = evaluate(Coin(), x, y, none, draws=40)
    found = summarize(outcome, random=True)
    assert found.clean.value > 0.9
    draws = found.rows[0].draws
    assert draws["mean"] == pytest.approx(0.7, abs=0.07) and draws["all"] < 0.1 and draws["majority"] > 0.9
    assert found.headline is None and any("no attack took the expectation" in r for r in found.refused)


def test_a_transferred_attack_is_made_on_its_source(trained):
    model, (x, y) = trained
    zero = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    attack = Attack(name="t", kind="own-pgd", eps=0.1, steps=5, source="other", cascade=False)
    from_self = evaluate(model, x, y, [attack], sources={"other": model})
    from_noise = evaluate(model, x, y, [attack], sources={"other": zero})
    assert summarize(from_self).worst.k < summarize(from_noise).worst.k
    with pytest.raises(SurgeonError, match=r"attacks come from \['other'\], and sources has"):
        evaluate(model, x, y, [attack])


def test_half_of_the_draws_is_no_majority():
    """A fair coin between two classes, on an even number of draws: no label is favoured."""

    class Coin(nn.Module):
        def forward(self, x):
            return (
                nn.functional.one_hot((torch.rand(len(x)) < 0.5).long(), 2).float()
                + 0 * x.sum((1, 2, 3))[:, None]
                - 0.5
            )

    x = torch.rand(2000, 1, 2, 2)
    right = [
        summarize(evaluate(Coin(), x, torch.full((2000,), label), [], draws=4)).clean.value
        for label in (0, 1)
    ]
    assert abs(right[0] - right[1]) < 0.05 and right[0] == pytest.approx(5 / 16, abs=0.04)


def test_a_model_that_folds_is_folded_before_it_is_attacked(tiny, images):
    import surgeon

    cut = surgeon.apply(tiny, "kap", input_size=(3, 8, 8))
    assert type(evaluated(cut, images)) is type(tiny)
    masked = surgeon.apply(tiny, "defective", input_size=(3, 8, 8))
    assert evaluated(masked, images) is masked
