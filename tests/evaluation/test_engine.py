"""The engine: valid verdicts, which depend on nothing but what is attacked; a folder that survives a kill."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from surgeon.errors import ArtifactError, DataError, SurgeonError, VerificationError
from surgeon.evaluation import (
    Attack,
    Normalized,
    Store,
    Verdict,
    adversarial_images,
    engine,
    evaluate,
    evaluated,
    read_outcome,
    suite,
    summarize,
)
from surgeon.evaluation.attacked import Attacked
from surgeon.recipe import Evaluation

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")
PGD = (Attack(name="pgd", kind="own-pgd", eps=0.1, steps=5),)
MIXED = (
    Attack(name="fgsm", kind="fgsm", eps=0.05),
    Attack(name="pgd", kind="own-pgd", eps=0.05, steps=5),
    Attack(name="apgd", kind="apgd", eps=0.05, steps=5),
    Attack(name="square", kind="square", eps=0.05, steps=30, loss="margin"),
    Attack(name="pgd", kind="own-pgd", eps=0.5, steps=5, norm="l2"),
)


def same(one, other):
    """Whether two outcomes have the same verdicts, but for how long they took and how many passes they made."""
    drop = {"seconds", "queries"}
    return [v.model_dump(exclude=drop) for v in one] == [v.model_dump(exclude=drop) for v in other]


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
    """Clean predictions and margins against a forward; every image that is right is attacked once by what does not cascade."""
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
def test_the_batch_size_changes_no_verdict(trained, batch_size):
    model, (x, y) = trained
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
    model, (x, y) = trained
    summary = summarize(evaluate(model, x, y, [Attack(name="pgd", kind="own-pgd", eps=0.0, steps=2)]))
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
    monkeypatch.setattr(engine, "run_attack", lambda attack, model, x, y, **_: broken(x))
    with pytest.raises(VerificationError, match=message):
        evaluate(model, x, y, PGD)


def test_an_attacks_own_word_is_not_believed(trained, monkeypatch):
    """What an attack returns unchanged counts as standing, whatever it did."""
    model, (x, y) = trained
    monkeypatch.setattr(engine, "run_attack", lambda attack, model, x, y, **_: x.clone())
    summary = summarize(evaluate(model, x, y, PGD))
    assert summary.worst.k == summary.clean.k


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: (x * 255).to(torch.uint8), "images are uint8; convert them"),
        (lambda x: x * 255, "they look like 0–255"),
        (lambda x: (x - 0.5) / 0.25, "they look normalised already"),
        (lambda x: x.double(), "attacks need float32"),
        (lambda x: x * float("nan"), "not a number"),
        (lambda x: x[0], "must be a batch"),
        (lambda x: x.expand(-1, 3, -1, -1), "expected input.* to have 1 channels|images have 3 channels"),
    ],
)
def test_images_of_another_kind_are_refused_with_the_likely_cause(trained, spoil, message):
    model, (x, y) = trained
    with pytest.raises((DataError, RuntimeError), match=message):
        evaluate(model, spoil(x), y, PGD)


def test_labels_that_do_not_fit(trained):
    model, (x, y) = trained
    with pytest.raises(DataError, match="96 images have 95 labels"):
        evaluate(model, x, y[:-1], PGD)
    with pytest.raises(DataError, match=r"labels run from 12 to 12, the model has 10 classes"):
        evaluate(model, x, y.clone().fill_(12), PGD)
    with pytest.raises(DataError, match=r"labels run from -1 to"):
        evaluate(model, x, torch.cat([y[:-1], torch.tensor([-1])]), PGD)
    for labels in (y.float(), y[:, None], y.int()):
        with pytest.raises(DataError, match=r"labels are torch.*; give class indices \(N,\), int64"):
            evaluate(model, x, labels, PGD)
    with pytest.raises(DataError, match="images have 3 channels, the normalisation has 1"):
        Normalized(model.model, (0.5,), (0.5,))(x.expand(-1, 3, -1, -1))


class Output(nn.Module):
    """A model whose output is wrapped."""

    def __init__(self, model, wrap):
        super().__init__()
        self.model, self.wrap = model, wrap

    def forward(self, x):
        return self.wrap(self.model(x))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda o: {"scores": o}, "the model gives a dict with the keys scores; wrap it"),
        (lambda o: (), "the model gives a tuple; wrap it"),
        (lambda o: o[:, :, None], r"it must give logits \(N, classes\)"),
        (lambda o: o[:, :1], "a classifier of two classes must give two logits"),
        (lambda o: o * float("nan"), "no finite logits"),
        (lambda o: o.softmax(1), "the model gives probabilities .* take the softmax off"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(trained, wrap, message):
    model, (x, y) = trained
    with pytest.raises(DataError, match=message):
        evaluate(Normalized(Output(model.model, wrap)), x, y.clamp(max=0), PGD)


@pytest.mark.parametrize(
    "wrap", [lambda o: (o, o), lambda o: [o], lambda o: {"logits": o, "loss": 0}, lambda o: {"out": o}]
)
def test_logits_inside_a_tuple_a_list_or_a_mapping_are_found(trained, wrap):
    model, (x, y) = trained
    subject = Normalized(Output(model.model, wrap))
    assert same(evaluate(subject, x, y, PGD), evaluate(model, x, y, PGD))


def test_said_probabilities_are_turned_back_into_logits(trained):
    model, (x, y) = trained
    subject = Normalized(Output(model.model, lambda o: o.softmax(1)), probabilities=True)
    said = [summarize(evaluate(m, x, y, MIXED)) for m in (model, subject)]
    assert said[0].clean == said[1].clean
    assert abs(said[0].worst.k - said[1].worst.k) <= 1


def test_half_precision_is_refused_by_the_name_of_a_weight(trained):
    model, (x, y) = trained
    with pytest.raises(
        DataError, match=r"0\.weight is torch\.bfloat16; attacks need float32.*model\.float\(\)"
    ):
        evaluate(nn.Sequential(nn.Conv2d(1, 2, 3)).bfloat16(), x, y, PGD)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(classes):
    """Two and three classes, for which some losses do not exist."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, classes))
    x = torch.rand(20, 3, 2, 2)
    y = model(x).argmax(1)
    for name in ("quick", "standard"):
        attacks = suite(Evaluation(suite=name, eps=0.1), classes=classes)
        attacks = [a.model_copy(update={"steps": min(a.steps, 20)}) for a in attacks]
        found = summarize(evaluate(model, x, y, attacks))
        assert found.worst.k < 20
    one = Attack(name="pgd", kind="own-pgd", eps=0.1, steps=20, loss="margin", cascade=False)
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
            logits = torch.zeros(len(x), 4)
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


def test_a_folder_is_gone_on_with_and_belongs_to_one_evaluation(trained, tmp_path, monkeypatch):
    model, (x, y) = trained
    wanted = evaluate(model, x, y, MIXED)
    store = Store(tmp_path / "e", keep=True)
    assert same(evaluate(model, x, y, MIXED, store=store), wanted)
    assert same(read_outcome(tmp_path / "e"), wanted) and read_outcome(tmp_path / "e").missing == ()
    files = sorted((tmp_path / "e" / "blocks").iterdir())
    assert len(files) == 2 * len(MIXED)
    files[1].unlink()
    files[4].unlink()
    partial = read_outcome(tmp_path / "e")
    assert len(partial.missing) == 2
    summary = summarize(partial)
    assert not summary.complete and summary.headline is None and "2 blocks are missing" in summary.refused[0]
    calls = []
    attack = engine.run_attack
    monkeypatch.setattr(
        engine, "run_attack", lambda a, *r, **k: (calls.append(a.name), attack(a, *r, **k))[1]
    )
    assert same(evaluate(model, x, y, MIXED, store=Store(tmp_path / "e", keep=True)), wanted)
    assert len(calls) == 2
    with pytest.raises(ArtifactError, match=r"holds an evaluation with other settings \(attacks\)"):
        evaluate(model, x, y, PGD, store=Store(tmp_path / "e"))
    with pytest.raises(ArtifactError, match=r"other settings \(examples, images\)"):
        evaluate(model, x[:50], y[:50], MIXED, store=Store(tmp_path / "e"))
    with pytest.raises(ArtifactError, match=r"other settings \(weights\)"):
        other = Normalized(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
        evaluate(other, x, y, MIXED, store=Store(tmp_path / "e"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already and holds no evaluation"):
        evaluate(model, x, y, PGD, store=Store(tmp_path / "full"))
    with pytest.raises(ArtifactError, match="holds no evaluation"):
        read_outcome(tmp_path / "full")


def test_a_folder_is_not_gone_on_with_for_a_model_that_says_something_else(trained, tmp_path):
    """Equal weights are no equal model: what wraps them may have changed since the evaluation began."""
    model, (x, y) = trained

    class Shifted(nn.Module):
        def __init__(self, model, shift):
            super().__init__()
            self.model, self.shift = model, shift

        def forward(self, x):
            return self.model(x.roll(self.shift, -1))

    evaluate(Shifted(model, 0), x, y, PGD, store=Store(tmp_path / "e"))
    with pytest.raises(
        ArtifactError, match=r"with these weights, .* says something else of \d+ of the first 64 images"
    ):
        evaluate(Shifted(model, 2), x, y, PGD, store=Store(tmp_path / "e"))
    evaluate(Shifted(model, 0), x, y, PGD, store=Store(tmp_path / "e"), batch_size=5)


def test_a_random_model_and_a_source_are_known_by_what_they_say_too(trained, tmp_path):
    model, (x, y) = trained

    class Noisy(nn.Module):
        def __init__(self, sigma):
            super().__init__()
            self.model, self.sigma = model, sigma

        def forward(self, x):
            return self.model((x + self.sigma * torch.randn_like(x)).clamp(0, 1))

    given = {"draws": 9, "store": Store(tmp_path / "random")}
    evaluate(Noisy(0.01), x[:40], y[:40], PGD, **given)
    with pytest.raises(ArtifactError, match="says something else"):
        evaluate(Noisy(5.0), x[:40], y[:40], PGD, **given)
    attack = [Attack(name="t", kind="own-pgd", eps=0.1, steps=2, source="s", cascade=False)]
    evaluate(model, x, y, attack, sources={"s": model}, store=Store(tmp_path / "source"))
    with pytest.raises(ArtifactError, match=r"other settings \(sources\)"):
        twin = Normalized(model.model, (0.9,), (0.1,))
        evaluate(model, x, y, attack, sources={"s": twin}, store=Store(tmp_path / "source"))


def test_sources_and_images_that_no_attack_can_work_on_are_refused_at_once(trained):
    model, (x, y) = trained
    for classes, channels, said in (
        (3, 1, "labels run|has 3 classes"),
        (10, 3, "cannot be attacked on these images"),
    ):
        source = nn.Sequential(nn.Conv2d(channels, 2, 1), nn.Flatten(), nn.Linear(128, classes))
        attack = Attack(name="t", kind="own-pgd", eps=0.1, steps=2, source="s", cascade=False)
        with pytest.raises(DataError, match=f"source s .*({said})"):
            evaluate(model, x, y, [attack], sources={"s": source})
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
    wide, labels = torch.rand(4, 3, 8, 12), torch.zeros(4, dtype=torch.long)
    with pytest.raises(SurgeonError, match="square in l2 needs square images of 8 pixels or more, not 8x12"):
        evaluate(
            flat, wide, labels, [Attack(name="s", kind="square", norm="l2", eps=1.0, steps=10, loss="margin")]
        )


def test_half_of_the_draws_is_no_majority():
    """A fair coin between two classes, on an even number of draws: no label is favoured."""

    class Coin(nn.Module):
        def forward(self, x):
            return (
                nn.functional.one_hot((torch.rand(len(x)) < 0.5).long(), 2).float()
                + 0 * x.sum((1, 2, 3))[:, None]
                + 0.5
            )

    x = torch.rand(2000, 1, 2, 2)
    right = [
        summarize(evaluate(Coin(), x, torch.full((2000,), label), [], draws=4)).clean.value
        for label in (0, 1)
    ]
    assert abs(right[0] - right[1]) < 0.05 and right[0] == pytest.approx(5 / 16, abs=0.04)


def test_kept_images_are_those_that_were_scored(trained, tmp_path):
    model, (x, y) = trained
    attacks = [a for a in MIXED if a.norm == "linf"]
    outcome = evaluate(model, x, y, attacks, store=Store(tmp_path / "e" / "attacks", keep=True))
    found = adversarial_images(tmp_path / "e" / "attacks", outcome, x)
    with torch.no_grad():
        right = model(found).argmax(1) == y
    assert int(right.sum()) == summarize(outcome).worst.k
    assert float((found - x).abs().max()) <= 0.05 + 1e-6
    moved = {v.example for v in outcome if v.success and v.attack != "none"}
    assert {i for i in range(96) if not torch.equal(found[i], x[i])} == moved


SCRIPT = """
import sys, os, time
import torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
if "WORLD_SIZE" in os.environ:
    from accelerate import PartialState
    PartialState(cpu=True)
from surgeon.evaluation import Store, evaluate, Normalized
from test_engine import MIXED
model, x, y = torch.load({data!r}, weights_only=False)
slow = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
outcome = evaluate(Normalized(model), x, y, MIXED, store=Store(sys.argv[1]), advance=lambda d, t: time.sleep(slow))
if os.environ.get("RANK", "0") == "1":
    import json
    json.dump(len(outcome), open(sys.argv[1] + ".rank1", "w"))
sys.stdout.flush()
os._exit(0)
"""


def test_neither_a_kill_nor_two_processes_change_a_verdict(trained, tmp_path):
    model, (x, y) = trained
    x, y = x.repeat(2, 1, 1, 1), y.repeat(2)
    data = tmp_path / "data.pt"
    torch.save((model.model, x, y), data)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), data=str(data)))
    wanted = evaluate(model, x, y, MIXED)
    target = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, str(script), str(target), "0.2"])
    while not (target / "blocks").is_dir() or len(list((target / "blocks").glob("0*"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_outcome(target).missing
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run(
        [sys.executable, *launch, str(script), str(target)], check=True, capture_output=True, timeout=300
    )
    found = read_outcome(target)
    assert found.missing == () and same(found, wanted)
    assert (tmp_path / "killed.rank1").read_text() == str(len(wanted.verdicts))


def test_a_model_that_folds_is_folded_before_it_is_attacked(tiny, images):
    import surgeon

    cut = surgeon.apply(tiny, "kap", input_size=(3, 8, 8))
    assert type(evaluated(cut, images)) is type(tiny)
    masked = surgeon.apply(tiny, "defective", input_size=(3, 8, 8))
    assert evaluated(masked, images) is masked


def test_a_verdict_is_a_row_that_comes_back_from_its_table(tmp_path):
    from surgeon.evaluation.verdict import COLUMNS
    from surgeon.files import read_parquet, write_parquet

    row = Verdict(example=3, image="ab", label=1, clean=1, margin=0.5, attack="cw", norm="l2", eps=None, success=True, prediction=2, votes=0.0)  # fmt: skip
    assert set(COLUMNS) == set(Verdict.model_fields)
    write_parquet(tmp_path / "t.parquet", COLUMNS, [row.model_dump()])
    assert [Verdict(**r) for r in read_parquet(tmp_path / "t.parquet")] == [row]
    (tmp_path / "t.parquet").write_text("no table")
    with pytest.raises(ArtifactError, match="cannot be read as parquet"):
        read_parquet(tmp_path / "t.parquet")
