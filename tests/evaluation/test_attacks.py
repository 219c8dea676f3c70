"""Attacks by themselves: strength, algebra, and what they leave behind."""

import pytest
import torch
from torch import nn

from surgeon.ball import project
from surgeon.errors import SurgeonError, VerificationError
from surgeon.evaluation import Attack, evaluate, summarize
from surgeon.evaluation.attacks.attacked import Attacked
from surgeon.evaluation.attacks.dispatch import run_attack, torchattacks
from surgeon.evaluation.attacks.pgd import dlr, margin, pgd
from surgeon.evaluation.engine.scoring import check_adversarial, distances, tightened
from surgeon.models.quiet import held_still

pytest.importorskip("torchattacks")


class Times(nn.Module):
    """A model whose logits are larger."""

    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x):
        return self.model(x) * self.factor


def accuracy(model, found, y):
    with torch.no_grad():
        return float((model(found).argmax(1) == y).float().mean())


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.03), ("linf", 0.1), ("l2", 0.3), ("l2", 1.0)])
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("factor", [1, 4])
def test_our_pgd_is_at_least_as_strong_as_torchattacks_at_equal_steps(trained, norm, eps, steps, factor):
    model, (x, y) = trained
    model = Times(model, factor)
    given = {"norm": norm, "eps": eps, "steps": steps}
    ours = run_attack(Attack(name="ours", kind="own-pgd", **given), model, x, y)
    theirs = run_attack(Attack(name="theirs", kind="pgd", **given), model, x, y)
    edge = 2 / len(y)  # an image or two at the edge may fall to the one and not to the other
    assert accuracy(model, ours, y) <= accuracy(model, theirs, y) + edge


def test_torchattacks_own_divisor_leaves_images_with_large_logits_where_they_are(trained):
    """Why another is given to it here: its own is 1e-10, of a mean over the batch."""
    model, (x, y) = trained
    large = Times(model, 4)
    theirs = run_attack(Attack(name="pgd", kind="pgd", norm="l2", eps=1.0, steps=20), large, x, y)
    package = torchattacks()
    with held_still(large):
        as_it_comes = package.PGDL2(large, eps=1.0, alpha=0.125, steps=20, random_start=False)(x, y)
    still = (as_it_comes - x).flatten(1).norm(dim=1) < 1e-3
    assert accuracy(large, theirs, y) < accuracy(large, as_it_comes, y) - 0.2 and bool(still.any())


def test_a_linear_model_is_attacked_as_its_algebra_says():
    """For f(x) = Wx with two classes the best Linf step is ε·sign(w_other − w_true)."""
    layer = nn.Linear(12, 2)
    model = nn.Sequential(nn.Flatten(), layer)
    x = torch.full((4, 3, 2, 2), 0.5)
    y = model(x).argmax(1)
    eps = 0.2
    given = {"eps": eps, "random_start": False, "early_stop": False}
    found = pgd(model, x, y, steps=10, **given)
    direction = (layer.weight[1 - y] - layer.weight[y]).view_as(x)
    assert torch.allclose(found, x + eps * direction.sign(), atol=1e-6)
    found = pgd(model, x, y, steps=200, norm="l2", **given)
    wanted = x + eps * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_samples_result_does_not_depend_on_its_batch(exact):
    model, (x, y) = exact
    given = dict(eps=0.1, steps=5, norm="l2", random_start=False)
    with held_still(model):
        whole = pgd(model, x[:8], y[:8], **given)
        single = torch.cat([pgd(model, x[i : i + 1], y[i : i + 1], **given) for i in range(8)])
    assert torch.allclose(whole, single, rtol=0, atol=1e-6)  # pixels are in float32


def test_more_restarts_are_never_weaker(trained):
    model, (x, y) = trained
    one, three = (
        pgd(model, x, y, eps=0.08, steps=2, restarts=n, generator=torch.Generator().manual_seed(0))
        for n in (1, 8)
    )
    with torch.no_grad():
        assert bool((margin(model(three), y) >= margin(model(one), y) - 1e-6).all())
    assert accuracy(model, three, y) <= accuracy(model, one, y)
    assert not torch.equal(three, one)


def test_what_is_misclassified_costs_no_more_steps(trained):
    model, (x, y) = trained
    asked = []
    for early in (True, False):
        counted = Attacked(model)
        with held_still(counted):
            found = pgd(counted, x, y, eps=0.3, steps=10, restarts=2, early_stop=early)
        assert accuracy(model, found, y) < 0.05
        asked.append(counted.queries)
    assert asked[1] == 2 * 11 * len(x) and asked[0] < asked[1] / 3


def test_the_best_iterate_is_kept_not_the_last(trained):
    """Steps so long that the last iterate is often worse than an earlier one."""
    model, (x, y) = trained
    with torch.no_grad():
        short = pgd(model, x, y, eps=0.1, steps=1, step_size=0.05, random_start=False)
        long = pgd(model, x, y, eps=0.1, steps=9, step_size=0.05, random_start=False)
        assert bool((margin(model(long), y) >= margin(model(short), y) - 1e-6).all())


def test_the_expectation_over_noise_finds_the_way_that_one_draw_hides():
    """Logits w·x plus noise a hundred times as steep: averaged gradients point along w."""
    torch.manual_seed(0)
    w = torch.randn(2, 48)

    class Noisy(nn.Module):
        def forward(self, x):
            flat = x.flatten(1)
            return flat @ w.T + (flat[:, None] * torch.randn(len(x), 2, 48) * 6).sum(2)

    x, y = torch.full((16, 3, 4, 4), 0.5), torch.zeros(16, dtype=torch.long)
    way = (w[1] - w[0]).sign()
    cosine = []
    for eot in (1, 40):
        torch.manual_seed(1)
        found = pgd(
            Noisy(),
            x,
            y,
            eps=0.1,
            steps=1,
            step_size=0.1,
            random_start=False,
            eot=eot,
            early_stop=False,
            loss="margin",
        )
        cosine.append(float(((found - x).flatten(1) @ way).mean()) / (0.1 * 48))
    assert cosine[1] > cosine[0] + 0.2


def test_losses_against_their_formulas():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0], [5.0, 0.0, 1.0, 4.0]])
    y = torch.tensor([1, 1])
    assert margin(logits, y).tolist() == [-1.0, 5.0]
    # −(z_y − max_{i≠y} z_i) / (z_π1 − z_π3)
    assert dlr(logits, y).tolist() == pytest.approx([-(3 - 2) / (3 - 1), -(0 - 5) / (5 - 1)])
    with pytest.raises(SurgeonError, match="the loss dlr needs 3 classes or more, the model gives 2"):
        dlr(logits[:, :2], y)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("kind", "norm"),
    [
        ("fgsm", "linf"),
        ("pgd", "linf"),
        ("pgd", "l2"),
        ("apgd", "l2"),
        ("apgdt", "linf"),
        ("fab", "linf"),
        ("square", "l2"),
        ("mi-fgsm", "linf"),
        ("cw", "l2"),
        ("random-sign", "linf"),
        ("uniform", "linf"),
    ],
)
def test_an_attack_leaves_the_model_and_the_random_state_alone(trained, kind, norm, fails):
    model, (x, y) = trained
    model.train()
    model.model[1].eval()
    modes, random = [m.training for m in model.modules()], torch.get_rng_state()
    attack = Attack(name=kind, kind=kind, norm=norm, eps=None if kind == "cw" else 0.1, steps=2)
    if fails:

        def fail(*_):
            raise RuntimeError("inside")

        handle = model.model[2].register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="inside"):
            run_attack(attack, model, x, y, classes=10)
            raise RuntimeError("inside")  # noise never asks the model
        handle.remove()
    else:
        first, again = (run_attack(attack, model, x[:20], y[:20], seed=1) for _ in range(2))
        assert torch.equal(first, again)
        check_adversarial(tightened(first, x[:20], attack), x[:20], attack)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.requires_grad for p in model.parameters())
    model.eval()


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("apgd", {}),
        ("apgd", {"loss": "dlr"}),
        ("apgdt", {"targets": 9}),
        ("square", {"loss": "margin"}),
        ("fab", {"targets": 9}),
    ],
)
def test_the_engine_finds_what_torchattacks_finds_by_itself(trained, kind, more):
    """Blocks, survivors and scoring against one call on the whole batch; random draws go by block here."""
    model, (x, y) = trained
    attack = Attack(name=kind, kind=kind, eps=0.07, steps=300 if kind == "square" else 50, **more)
    found = summarize(evaluate(model, x, y, [attack])).worst
    package = torchattacks()
    by = {
        "apgd": lambda m: package.APGD(
            m, norm="Linf", eps=0.07, steps=50, n_restarts=1, seed=0, loss=attack.loss, eot_iter=1, rho=0.75
        ),
        "apgdt": lambda m: package.APGDT(
            m, norm="Linf", eps=0.07, steps=50, n_restarts=1, seed=0, eot_iter=1, rho=0.75, n_classes=10
        ),
        "square": lambda m: package.Square(
            m,
            norm="Linf",
            eps=0.07,
            n_queries=300,
            n_restarts=1,
            p_init=0.8,
            loss="margin",
            resc_schedule=False,
            seed=0,
        ),
        "fab": lambda m: package.FAB(
            m,
            norm="Linf",
            eps=0.07,
            steps=50,
            n_restarts=1,
            alpha_max=0.1,
            eta=1.05,
            beta=0.9,
            seed=0,
            multi_targeted=True,
            n_classes=10,
        ),
    }
    with held_still(model, 0):
        theirs = by[kind](model)(x, y)
    alone = round(accuracy(model, theirs, y) * len(y))
    assert abs(found.k - alone) <= 4 and found.k < accuracy(model, x, y) * len(y)


def test_what_rounding_leaves_outside_the_ball_is_brought_back_and_nothing_more():
    attack = Attack(name="a", kind="apgd", norm="l2", eps=4.0)
    x = torch.full((3, 3, 32, 32), 0.5)
    way = torch.randn_like(x)
    way = way / way.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    over = x + way * torch.tensor([4.0 * (1 + 2e-5), 3.0, 4.1]).view(-1, 1, 1, 1)
    found = tightened(over, x, attack)
    assert float(distances(found, x)[1][0]) <= 4.0
    assert torch.equal(found[1:], over[1:])
    with pytest.raises(VerificationError, match=r"a l2 4 left the ball: distance 4\.1\d* > ε 4"):
        check_adversarial(found, x, attack)
    assert torch.equal(project(x, x, 4.0, "l2"), x)


@pytest.mark.parametrize("shift", [0.0, -50.0])
def test_carlini_and_wagner_turn_every_image_whatever_the_sign_of_the_logits(trained, shift):
    """Unbounded, it must leave none; digits have black and white pixels, which atanh cannot move by itself."""
    model, (x, y) = trained

    class Shifted(nn.Module):
        def forward(self, x):
            return model(x) + shift

    subject = Shifted()
    right = subject(x).argmax(1) == y
    x, y = x[right], y[right]
    found = run_attack(Attack(name="cw", kind="cw", norm="l2", steps=50), subject, x, y)
    assert accuracy(subject, found, y) == 0 and float(found.min()) >= 0 and float(found.max()) <= 1
    far = distances(found, x)[1]
    pgd_far = distances(
        run_attack(Attack(name="p", kind="own-pgd", norm="l2", eps=3.0, steps=50), subject, x, y), x
    )[1]
    assert float(far.median()) < float(pgd_far.median())  # and it is near


def test_settings_that_an_attack_does_not_have_are_refused():
    for wrong in (
        {"kind": "square", "eot": 3},
        {"kind": "fgsm", "restarts": 2},
        {"kind": "pgd", "early_stop": False},
    ):
        with pytest.raises(SurgeonError, match=f"{wrong['kind']} has no "):
            Attack(name="a", eps=0.1, **wrong)
    with pytest.raises(SurgeonError, match="apgd has the losses ce and dlr"):
        Attack(name="a", kind="apgd", eps=0.1, loss="margin")


def test_tf32_set_by_torchs_new_switches_is_off_inside_and_back_afterwards(trained):
    switch = torch.backends.cudnn.conv
    before = switch.fp32_precision
    try:
        switch.fp32_precision = "tf32"
        torch.backends.cudnn.rnn.fp32_precision = "ieee"
        with held_still(trained[0]):
            assert switch.fp32_precision == "ieee"
        assert switch.fp32_precision == "tf32"
    finally:
        switch.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = before


def test_attacks_that_make_no_sense_are_refused():
    with pytest.raises(SurgeonError, match="eps is missing"):
        Attack(name="a", kind="pgd")
    with pytest.raises(SurgeonError, match="cw is unbounded"):
        Attack(name="a", kind="cw", eps=1.0)
    with pytest.raises(SurgeonError, match="fgsm is an attack in linf"):
        Attack(name="a", kind="fgsm", norm="l2", eps=1.0)
    x, y = torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.long)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(SurgeonError, match="norm 'l3'"):
        pgd(model, x, y, eps=0.1, steps=1, norm="l3")
    with pytest.raises(SurgeonError, match="steps=0, restarts=1 and eot=1 must be at least 1"):
        pgd(model, x, y, eps=0.1, steps=0)
