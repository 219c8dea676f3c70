"""Attacks and the engine: strength, validity, and what they leave behind."""

import pytest
import torch
from torch import nn

from surgeon.data import Images, digits
from surgeon.errors import DataError, SurgeonError, VerificationError
from surgeon.evaluation import (
    Normalized,
    attacks,
    engine,
    evaluate,
    evaluated,
    noise_accuracy,
    pgd,
    summarize,
)
from surgeon.evaluation.pgd import margin
from surgeon.evaluation.quiet import held_still
from surgeon.evaluation.summary import wilson
from surgeon.recipe import Evaluation, Training

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def trained():
    """A small network that reads the digits, and 96 of them."""
    from surgeon.training import fit

    torch.manual_seed(0)
    sets = digits(8)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10),
    )  # fmt: skip
    fit(model, sets["train"], None, Training(epochs=6, batch_size=64, lr=0.05))
    return Normalized(model), Images(sets["test"].x[:96], sets["test"].y[:96])


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.03), ("linf", 0.1), ("l2", 0.3), ("l2", 1.0)])
@pytest.mark.parametrize("steps", [5, 20])
def test_our_pgd_is_at_least_as_strong_as_torchattacks_at_equal_steps(trained, norm, eps, steps):
    model, (x, y) = trained
    with held_still(model, 0):
        ours = pgd(model, x, y, eps=eps, steps=steps, norm=norm, generator=torch.Generator().manual_seed(0))
        theirs = attacks.pgd(model, x, y, eps=eps, steps=steps, norm=norm)
        model.eval()
        accuracy = [float((model(a).argmax(1) == y).float().mean()) for a in (ours, theirs)]
    assert accuracy[0] <= accuracy[1] + 0.011


def test_l2_steps_work_where_logits_are_large(trained):
    model, (x, y) = trained

    class Large(nn.Module):
        def forward(self, x):
            return model(x) * 40

    with held_still(model):
        found = pgd(
            Large(),
            x,
            y,
            eps=1.0,
            steps=20,
            norm="l2",
            loss="margin",
            generator=torch.Generator().manual_seed(0),
        )
        plain = pgd(
            model,
            x,
            y,
            eps=1.0,
            steps=20,
            norm="l2",
            loss="margin",
            generator=torch.Generator().manual_seed(0),
        )
        robust = [float((model(a).argmax(1) == y).float().mean()) for a in (found, plain)]
    assert robust[0] == pytest.approx(robust[1], abs=0.03)


def test_a_linear_model_is_attacked_as_its_algebra_says():
    """For f(x) = Wx with two classes the best Linf step is ε·sign(w_other − w_true)."""
    torch.manual_seed(0)
    layer = nn.Linear(12, 2)
    model = nn.Sequential(nn.Flatten(), layer)
    x = torch.full((4, 3, 2, 2), 0.5)
    y = model(x).argmax(1)
    eps = 0.2
    found = pgd(model, x, y, eps=eps, steps=10, random_start=False)
    direction = (layer.weight[1 - y] - layer.weight[y]).view_as(x)
    assert torch.allclose(found, x + eps * direction.sign(), atol=1e-6)
    found = pgd(model, x, y, eps=eps, steps=200, norm="l2", random_start=False)
    wanted = x + eps * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_samples_result_does_not_depend_on_its_batch(trained):
    model, (x, y) = trained
    with held_still(model):
        whole = pgd(model, x[:8], y[:8], eps=0.1, steps=5, norm="l2", random_start=False)
        single = torch.cat(
            [
                pgd(model, x[i : i + 1], y[i : i + 1], eps=0.1, steps=5, norm="l2", random_start=False)
                for i in range(8)
            ]
        )
    assert torch.allclose(whole, single, atol=1e-5)


def test_evaluation_gives_a_valid_verdict_for_every_image_and_leaves_the_model_alone(trained):
    model, (x, y) = trained
    model.train()
    model.model[1].eval()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    verdicts = evaluate(model, x, y, Evaluation(attacks=("fgsm", "pgd"), eps=0.1, steps=5), seed=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == modes
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    summary = summarize(verdicts)
    assert summary.clean.n == 96
    assert summary.worst.k <= min(s.k for s in summary.robust.values()) <= summary.clean.k
    assert {v.example for v in verdicts} == set(range(96))
    again = evaluate(model, x, y, Evaluation(attacks=("fgsm", "pgd"), eps=0.1, steps=5), seed=1)
    assert again == verdicts
    model.eval()


def test_no_perturbation_leaves_clean_accuracy(trained):
    model, (x, y) = trained
    summary = summarize(evaluate(model, x, y, Evaluation(attacks=("pgd",), eps=0.0, steps=2)))
    assert summary.robust["pgd"].k == summary.clean.k


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
    monkeypatch.setitem(engine.ATTACKS, "pgd", lambda model, x, y, s, g: broken(x))
    with pytest.raises(VerificationError, match=message):
        evaluate(model, x, y, Evaluation(attacks=("pgd",), eps=0.1, steps=1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: (x * 255).to(torch.uint8), "images are uint8; convert them"),
        (lambda x: x * 255, "they look like 0–255"),
        (lambda x: (x - 0.5) / 0.25, "they look normalised already"),
        (lambda x: x.double(), "attacks need float32"),
        (lambda x: x * float("nan"), "not a number"),
        (lambda x: x[0], "must be a batch"),
    ],
)
def test_images_of_another_kind_are_refused_with_the_likely_cause(trained, spoil, message):
    model, (x, y) = trained
    with pytest.raises(DataError, match=message):
        evaluate(model, spoil(x), y)


def test_other_malformed_inputs(trained):
    model, (x, y) = trained
    with pytest.raises(DataError, match="96 images have 95 labels"):
        evaluate(model, x, y[:-1])
    with pytest.raises(DataError, match=r"labels run from \d+ to 12, the model has 10 classes"):
        evaluate(model, x, y.clone().fill_(12))
    with pytest.raises(DataError, match="images have 3 channels, the normalisation has 1"):
        Normalized(model.model, (0.5,), (0.5,))(x.expand(-1, 3, -1, -1))
    with pytest.raises(SurgeonError, match="norm 'l1'"):
        pgd(model, x, y, eps=0.1, steps=1, norm="l1")


@pytest.mark.parametrize("labels", [lambda y: y.float(), lambda y: y[:, None], lambda y: y.int()])
def test_labels_of_another_kind_are_refused(trained, labels):
    model, (x, y) = trained
    for call in (lambda: evaluate(model, x, labels(y)), lambda: noise_accuracy(model, x, labels(y), [0.1])):
        with pytest.raises(DataError, match=r"labels are torch.*; give class indices \(N,\), int64"):
            call()


def test_noise_accuracy_refuses_what_the_engine_refuses(trained):
    model, (x, y) = trained
    with pytest.raises(DataError, match="they look like 0–255"):
        noise_accuracy(model.model, x * 255, y, [0.1])
    with pytest.raises(DataError, match="96 images have 95 labels"):
        noise_accuracy(model, x, y[:-1], [0.1])
    with pytest.raises(DataError, match="there are no images"):
        noise_accuracy(model, x[:0], y[:0], [0.1])
    with pytest.raises(SurgeonError, match="draws=0 must be at least 1"):
        noise_accuracy(model, x, y, [0.1], draws=0)


@pytest.mark.parametrize(("wrap", "kind"), [(lambda o: {"out": o}, "dict"), (lambda o: (), "tuple")])
def test_an_output_without_logits_is_refused_by_name(trained, wrap, kind):
    model, (x, _) = trained

    class Wrapped(nn.Module):
        def forward(self, x):
            return wrap(model(x))

    with pytest.raises(DataError, match=f"the model gives a {kind}; wrap it"):
        Normalized(Wrapped())(x)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "pgdl2"])
def test_an_attack_called_alone_leaves_the_model_and_the_random_state_alone(trained, attack, fails):
    model, (x, y) = trained
    model.train()
    model.model[1].eval()
    modes, random = [m.training for m in model.modules()], torch.get_rng_state()
    more = {"fgsm": {}, "pgd": {"steps": 2}, "pgdl2": {"steps": 2, "norm": "l2"}}[attack]
    call = attacks.fgsm if attack == "fgsm" else attacks.pgd
    if fails:
        with pytest.raises(IndexError):
            call(model, x, y + 10, eps=0.1, **more)
    else:
        first, again, other = (call(model, x, y, eps=0.1, seed=s, **more) for s in (1, 1, 2))
        assert torch.equal(first, again)
        assert torch.equal(first, other) == (attack == "fgsm")
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.requires_grad for p in model.parameters())
    model.eval()


def test_torchattacks_reaches_weak_gradients_of_large_logits(trained):
    """Its own divisor, 1e-10, leaves most images at logits × 4 where they were; ours does not."""
    model, (x, y) = trained

    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x) * 4

    theirs = attacks.pgd(Large(), x, y, eps=1.0, steps=20, norm="l2")
    with held_still(model):
        ours = pgd(Large(), x, y, eps=1.0, steps=20, norm="l2", generator=torch.Generator().manual_seed(0))
        robust = [float((model(a).argmax(1) == y).float().mean()) for a in (ours, theirs)]
    assert robust[0] <= robust[1] + 0.011
    assert robust[1] < 0.2


def test_everything_is_restored_when_an_attack_fails(trained, monkeypatch):
    model, (x, y) = trained
    model.train()

    def fail(*_):
        raise RuntimeError("attack")

    monkeypatch.setitem(engine.ATTACKS, "pgd", fail)
    with pytest.raises(RuntimeError, match="attack"):
        evaluate(model, x, y, Evaluation(attacks=("pgd",)))
    assert all(m.training for m in model.modules()) and all(p.requires_grad for p in model.parameters())
    model.eval()


def test_margin_is_above_zero_exactly_where_the_label_is_missed():
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0]])
    assert margin(logits, torch.tensor([1, 1])).tolist() == [-1.0, 5.0]


def test_wilson_intervals_match_the_formula():
    found = wilson(8, 10)
    z, n, p = 1.959964, 10, 0.8
    centre, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5,
    )
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_noise_curves_fall(trained):
    model, (x, y) = trained
    for kind in ("gaussian", "uniform"):
        found = noise_accuracy(model, x, y, [0.0, 0.3, 3.0], kind=kind)
        assert found[0] > found[2]
        assert found == noise_accuracy(model, x, y, [0.0, 0.3, 3.0], kind=kind)


def test_a_model_that_folds_is_folded_before_it_is_attacked(tiny, images):
    import surgeon

    cut = surgeon.apply(tiny, "kap", input_size=(3, 8, 8))
    assert type(evaluated(cut, images)) is type(tiny)
    masked = surgeon.apply(tiny, "defective", input_size=(3, 8, 8))
    assert evaluated(masked, images) is masked


def test_findings_read_the_traits():
    from surgeon.edits import Traits

    row = dict(example=0, label=0, clean=0, norm="linf", eps=0.1, seed=0, prediction=0, distance=0.1)
    rows = [
        engine.Verdict(**{**row, "example": i}, attack=a, success=s)
        for i in range(20) for a, s in (("fgsm", i < 10), ("pgd", i < 2))
    ]  # fmt: skip
    codes = {f.code for f in summarize(rows, Traits(masked=True, stochastic="always")).findings}
    assert codes == {"upper-bound", "one-step-stronger", "masked", "stochastic"}
