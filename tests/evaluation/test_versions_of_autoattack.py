"""AutoAttack's other versions, the cheaper tier, and the attack that sees decisions only."""

import pytest
import torch
from torch import nn

from surgeon.evaluation import Attack, evaluate, suite, summarize
from surgeon.evaluation.attacks.near_targets import nearest_classes
from surgeon.recipe import Evaluation

pytest.importorskip("torchattacks")


def test_plus_and_rand_have_autoattacks_attacks_and_restarts():
    plus = suite(Evaluation(suite="plus"), classes=10)
    assert [(a.name, a.steps, a.restarts, a.targets) for a in plus] == [
        ("apgd-ce", 100, 5, None),
        ("apgd-dlr", 100, 5, None),
        ("fab", 100, 5, None),
        ("square", 5000, 1, None),
        ("apgd-t", 100, 1, 9),
        ("fab-t", 100, 1, 9),
    ]
    rand = suite(Evaluation(suite="rand"), classes=10)
    assert [(a.kind, a.loss, a.steps, a.eot, a.early_stop) for a in rand] == [
        ("apgd", "ce", 100, 20, False),
        ("apgd", "dlr", 100, 20, False),
    ]
    in_l1 = suite(Evaluation(suite="standard", norm="l1"), classes=10)
    assert [(a.name, a.restarts, a.targets) for a in in_l1] == [
        ("apgd-ce", 5, None),
        ("apgd-t", 1, 5),
        ("fab-t", 1, 9),
    ]
    assert all(
        a.needs.classes <= 2 for name in ("plus", "lean") for a in suite(Evaluation(suite=name), classes=2)
    )


def test_the_nearest_classes_of_a_linear_model_are_those_of_the_algebra():
    torch.manual_seed(0)
    layer = nn.Linear(12, 6)
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(-1, 1, 6)[:, None])  # large slopes make a far logit near
    model = nn.Sequential(nn.Flatten(), layer)
    x = torch.rand(10, 3, 2, 2)
    y = model(x).argmax(1)
    for norm, dual in (("linf", 1), ("l2", 2), ("l1", float("inf"))):
        found = nearest_classes(model, x, y, 3, norm)
        for i in range(len(x)):
            logits, weight = model(x[i : i + 1])[0].double(), layer.weight.double()
            far = [
                (float((logits[y[i]] - logits[c]) / (weight[y[i]] - weight[c]).norm(p=dual)), c)
                for c in range(6)
                if c != y[i]
            ]
            assert found[i].tolist() == [c for _, c in sorted(far)[:3]]
    likely = model(x).scatter(1, y[:, None], -torch.inf).topk(3).indices
    assert not torch.equal(likely, found)


def test_aiming_near_is_as_strong_with_few_targets_as_all_of_them(trained):
    model, (x, y) = trained
    shared = dict(kind="apgdt", loss="dlr", eps=0.08, steps=30, cascade=False)
    near = Attack(name="near", targets=3, order="near", **shared)
    outcome = evaluate(model, x, y, [near, Attack(name="all", targets=9, **shared)])
    left = {r.attack: r.shares[0] for r in summarize(outcome).rows}
    assert 0 < left["all"].k < left["all"].n * 0.9
    assert left["near"].k <= left["all"].k + 2, left


def test_the_lean_tier_keeps_an_upper_bound_as_its_headline(trained):
    model, (x, y) = trained
    attacks = suite(Evaluation(suite="lean", eps=0.08), classes=10)
    assert [a.name for a in attacks] == ["apgd-t-near", "apgd-ce"]
    found = summarize(evaluate(model, x, y, attacks), classes=10)
    assert found.headline.text.startswith("upper bound of robust accuracy (suite lean)")


class Blind(nn.Module):
    """Answers with decisions alone: its logits are 0 and 1, and have no gradient."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        with torch.no_grad():
            logits = self.model(x)
            return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float() * 2 - 1


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_decisions_alone_lead_near_the_boundary(norm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 3)).eval()
    x = 0.4 + 0.2 * torch.rand(12, 2, 4, 4)
    y = model(x).argmax(1)
    hop = [Attack(name="hop", kind="hopskipjump", norm=norm, steps=n, cascade=False) for n in (100, 4000)]
    short, long = ([v for v in evaluate(Blind(model), x, y, [one]) if v.attack == "hop"] for one in hop)
    weight = model[1].weight.detach().double()
    logits = model(x).detach().double()
    dual = 1 if norm == "linf" else 2
    truth = [
        min(
            float((logits[i, y[i]] - logits[i, c]) / (weight[y[i]] - weight[c]).norm(p=dual))
            for c in range(3)
            if c != y[i]
        )
        for i in range(len(x))
    ]
    assert all(v.success for v in long)
    ratio = sorted(getattr(v, norm) / t for v, t in zip(long, truth, strict=True))
    assert ratio[0] >= 1 - 1e-4 and ratio[len(ratio) // 2] < 1.6, ratio
    assert sum(getattr(v, norm) for v in long) < sum(getattr(v, norm) for v in short)
    assert max(v.queries for v in long) < 4000 + 300
