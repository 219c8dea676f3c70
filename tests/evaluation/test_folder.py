"""A whole evaluation in its folder: what is in it, what it refuses, how it goes on, what the surgery changes in it."""

import csv
import json

import pytest
import torch
from torch import nn

import surgeon
from surgeon.disk.files import read_parquet
from surgeon.errors import ArtifactError, DataError
from surgeon.evaluation import assess, read_assessment
from surgeon.evaluation.engine import blocks as engine
from surgeon.evaluation.parts import Parts
from surgeon.recipe import Evaluation
from surgeon.results.statistics import wilson
from surgeon.results.verdict import COLUMNS

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")
QUICK = Evaluation(suite="quick", eps=0.05, diagnostics=40, pictures=False)


@pytest.fixture
def network(reader):
    """The small network itself, and 40 digits."""
    model, (x, y) = reader
    return model.eval(), x[:40], y[:40]


def same(one, other):
    """Equal but for what a clock says."""
    drop = {"subject": {"images_per_second", "stock_images_per_second", "speed_factor"}}
    return one.model_dump(exclude=drop) == other.model_dump(exclude=drop)


@pytest.fixture(scope="module")
def done(reader, tmp_path_factory):
    """An evaluation with all its parts: (folder, what it found)."""
    model, (x, y) = reader
    folder = tmp_path_factory.mktemp("evaluation") / "e"
    settings = Evaluation(
        suite="quick",
        eps=0.05,
        diagnostics=40,
        beyond=True,
        keep=True,
        certify=(0.1, 0.25),
        certify_samples=4,
        certify_draws=300,
        pictures=True,
    )
    found = assess(
        model.eval(), x[:40], y[:40], settings, folder, name="reader", data={"source": "digits"}, seed=3
    )
    return folder, found


def test_the_folder_has_all_of_it(done):
    folder, found = done
    assert read_assessment(folder) == found
    assert {p.name for p in folder.iterdir() if p.is_file()} == {
        "certificates.parquet",
        "corruptions.json",
        "curves.json",
        "diagnostics.json",
        "flags.json",
        "evaluation.json",
        "model_info.json",
        ".surgeon.json",
        "noise.json",
        "settings.json",
        "verdicts.csv",
        "verdicts.parquet",
    }
    assert found.summary.clean.n == 40 and found.subject.classes == 10 and found.subject.mode == "standard"
    assert (
        found.reliable
        and found.summary.headline.text
        == "upper bound of robust accuracy (suite quick), linf 0.05, 40 images"
    )
    assert [c.kind for c in found.curves] == ["gaussian", "uniform", "patches"]
    assert len(found.corruptions) == 75 and len(found.noise) == 4
    assert [c.sigma for c in found.certified] == [0.1, 0.25] and found.certified[0].images == 4
    assert all((folder / "pictures" / p.file).is_file() and p.alt for p in found.pictures)
    assert {"adversarial", "changes", "spread", "features", "gradcam", "kernels"} == {
        p.file[:-4] for p in found.pictures
    }
    assert found.settings["evaluation"]["norm"] == "linf" and found.settings["seed"] == 3


def test_tables_of_verdicts_agree_with_the_summary(done):
    folder, found = done
    rows = read_parquet(folder / "verdicts.parquet")
    assert list(rows[0]) == list(COLUMNS)
    with (folder / "verdicts.csv").open(newline="") as file:
        text = list(csv.DictReader(file))
    assert [int(r["example"]) for r in text] == [r["example"] for r in rows]
    assert [r["success"] == "True" for r in text] == [r["success"] for r in rows]
    fallen = {r["example"] for r in rows if r["success"]}
    assert 40 - len(fallen) == found.summary.worst.k


def test_what_robustbench_keeps(done):
    folder, found = done
    info = json.loads((folder / "model_info.json").read_text())
    assert (
        info["clean_acc"] == f"{100 * found.summary.clean.value:.2f}"
        and info["eps"] == "0.05"
        and info["norm"] == "Linf"
    )
    assert info["reported"] == f"{100 * found.summary.worst.value:.2f}"
    assert info["autoattack_acc"] is None and info["unreliable"] is False  # quick is no AutoAttack


def test_the_noise_table_starts_from_the_worst_case(done):
    found = done[1]
    assert found.noise[0].share.k == found.summary.worst.k and not found.noise[0].input_noise


def test_it_goes_on_where_it_stopped_and_is_not_made_twice(network, tmp_path, monkeypatch):
    model, x, y = network
    wanted = assess(model, x, y, QUICK, tmp_path / "whole")
    parts = []

    def killed(self, *_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Parts, "diagnosis", killed)
    with pytest.raises(KeyboardInterrupt):
        assess(model, x, y, QUICK, tmp_path / "cut")
    with pytest.raises(ArtifactError, match=r"an evaluation that is not finished \(its attacks are done\)"):
        read_assessment(tmp_path / "cut")
    next((tmp_path / "cut" / "attacks" / "blocks").iterdir()).unlink()
    with pytest.raises(
        ArtifactError, match=r"not finished \(1 blocks of attacks are missing\): run the same command again"
    ):
        read_assessment(tmp_path / "cut")
    monkeypatch.undo()
    attack = engine.run_attack
    monkeypatch.setattr(
        engine, "run_attack", lambda a, *r, **k: (parts.append(a.name), attack(a, *r, **k))[1]
    )
    assert same(assess(model, x, y, QUICK, tmp_path / "cut"), wanted) and len(parts) == 1
    assert same(assess(model, x, y, QUICK, tmp_path / "cut"), wanted) and len(parts) == 1


def test_a_folder_belongs_to_one_evaluation(network, done, tmp_path):
    model, x, y = network
    folder = tmp_path / "e"
    basic = Evaluation(steps=2, eps=0.05)
    assess(model, x, y, basic, folder)
    for change, named in [
        ({"settings": Evaluation(steps=3, eps=0.05)}, "evaluation"),
        ({"seed": 1}, "seed"),
        ({"images": x.flip(0), "labels": y.flip(0)}, "data"),
        ({"network": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, "surgery|weights"),
    ]:
        given = {"network": model, "images": x, "labels": y, "settings": basic, "folder": folder, **change}
        with pytest.raises(
            (ArtifactError, DataError), match=f"an evaluation with other settings \\(.*{named}"
        ):
            assess(**given)
    with pytest.raises(ArtifactError, match="holds no evaluation: there is no evaluation.json in it"):
        read_assessment(tmp_path)
    (folder / "evaluation.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"evaluation.json cannot be read"):
        read_assessment(folder)


def test_a_number_that_was_changed_is_not_returned_as_the_result(network, tmp_path):
    model, x, y = network
    basic = Evaluation(steps=2, eps=0.05)
    clean = assess(model, x, y, basic, tmp_path / "e").summary.clean
    path = tmp_path / "e" / "evaluation.json"
    content, k = json.loads(path.read_text()), (clean.k + 1) % (clean.n + 1)
    for share, named in (
        ({**clean.model_dump(), "k": k}, "a number was changed"),
        ({**clean.model_dump(), "k": clean.n + 1}, "is not a share"),
        (wilson(k, clean.n).model_dump(), "was changed after the evaluation had ended"),
    ):
        path.write_text(json.dumps({**content, "summary": {**content["summary"], "clean": share}}))
        with pytest.raises(ArtifactError, match=named) as told:
            assess(model, x, y, basic, tmp_path / "e")
        assert "\n" not in str(told.value)


def test_every_share_is_the_one_that_scipy_computes():
    for n in (0, 1, 7, 1000):
        for k in {0, 1, n // 3, n} if n else {0}:
            assert wilson(k, n).n == n  # refused unless the closed form gives the same bounds


def test_a_finished_folder_is_not_read_for_a_model_that_says_something_else(network, tmp_path):
    """The same tensors under another activation: a hash of weights cannot tell them apart."""
    model, x, y = network
    basic = Evaluation(steps=2, eps=0.05)
    assess(model, x, y, basic, tmp_path / "e")
    twin = nn.Sequential(*(nn.Tanh() if isinstance(m, nn.ReLU) else m for m in model)).eval()
    with pytest.raises(ArtifactError, match="decides otherwise on"):
        assess(twin, x, y, basic, tmp_path / "e")


def test_certificates_are_of_images_from_all_of_the_set(network, tmp_path):
    model, x, y = network
    order = y.argsort()
    settings = Evaluation(steps=1, eps=0.05, certify=(0.1,), certify_samples=5, certify_draws=50)
    assess(model, x[order], y[order], settings, tmp_path / "e", examples=order.tolist())
    rows = read_parquet(tmp_path / "e" / "certificates.parquet")
    assert [r["example"] for r in rows] == [order[k] for k in (0, 10, 20, 29, 39)]
    assert len({r["label"] for r in rows}) >= 4


def test_a_model_that_gets_nothing_right_is_reported_not_a_crash(network, tmp_path):
    model, x, y = network
    found = assess(model, x, (model(x).argmax(1) + 1) % 10, QUICK, tmp_path / "e")
    assert found.summary.clean.k == 0 and found.summary.headline is None
    assert any("nothing-right" in r for r in found.summary.refused)


def test_the_surgery_is_part_of_what_was_evaluated(tiny, tmp_path):
    """Two surgeries that leave the same weights are two models."""
    x = torch.rand(12, 3, 8, 8)
    settings = Evaluation(steps=2, eps=0.05)
    cut = [
        surgeon.apply(tiny, {"op": "kap", "kernel_size": k, "start": "naive"}, input_size=(3, 8, 8))
        for k in (3, 1)
    ]
    y = cut[0](x).argmax(1)
    assess(cut[0], x, y, settings, tmp_path / "e")
    with pytest.raises(ArtifactError, match=r"other settings \(surgery\)"):
        assess(cut[1], x, y, settings, tmp_path / "e")


def test_a_network_that_folds_is_attacked_as_the_stock_one(tiny, tmp_path):
    x = torch.rand(12, 3, 8, 8)
    cut = surgeon.apply(tiny, "kap", input_size=(3, 8, 8))
    y = cut(x).argmax(1)
    found = assess(cut, x, y, Evaluation(steps=2, eps=0.05), tmp_path / "e")
    assert found.subject.folded and found.subject.fold_error < 1e-5 and found.subject.operations == ("kap",)
    assert found.plan == cut.surgery and any("folds exactly" in n for n in found.notes)
    stock = assess(surgeon.fold(cut), x, y, Evaluation(steps=2, eps=0.05), tmp_path / "stock")
    own = tuple(r for r in found.summary.rows if r.source is None)
    assert stock.summary.rows == own and not stock.subject.folded and stock.plan is None


def test_noise_of_training_needs_no_expectation_and_masks_ask_for_transfer(tiny, tmp_path):
    x = torch.rand(12, 3, 8, 8)
    settings = Evaluation(steps=2, eps=0.05)
    anl = surgeon.apply(tiny, "anl", input_size=(3, 8, 8))
    found = assess(anl, x, anl(x).argmax(1), settings, tmp_path / "anl")
    assert found.subject.mode == "standard" and any("noise is a matter of training" in n for n in found.notes)
    masked = surgeon.apply(tiny, "defective", input_size=(3, 8, 8))
    found = assess(masked, x, masked(x).argmax(1), settings, tmp_path / "masked")
    assert not found.subject.folded and any("give other networks as sources" in n for n in found.notes)
    assert "masked" in {f.code for f in found.summary.findings}


class Noisy(nn.Module):
    """Noise at inference."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x + 0.05 * torch.randn_like(x)).clamp(0, 1))


def test_attacks_named_by_hand_are_told_as_what_they_did_of_a_random_network(network, tmp_path, monkeypatch):
    model, x, y = network
    monkeypatch.setattr("surgeon.evaluation.asked.DRAWS", 9)
    by_hand = Evaluation(suite="basic", attacks=("fgsm",), eps=0.1, adaptive=False)
    found = assess(Noisy(model), x[:12], y[:12], by_hand, tmp_path / "basic")
    (note,) = [n for n in found.notes if "random at inference" in n]
    assert "no attack averages over its draws" in note and "attacks average" not in note
    assert not found.diagnosis or not found.diagnosis.expectation


def test_a_network_that_is_random_at_inference_gets_the_expectation(network, tmp_path, monkeypatch):
    model, x, y = network
    monkeypatch.setattr("surgeon.evaluation.suites.EOT", 3)
    monkeypatch.setattr("surgeon.evaluation.asked.DRAWS", 9)
    found = assess(Noisy(model), x[:12], y[:12], QUICK, tmp_path / "auto")
    assert found.subject.random and found.subject.mode == "random"
    assert [r.attack for r in found.summary.rows] == ["apgd-ce-eot", "apgd-dlr-eot", "pgd-eot"]
    assert {"mean", "majority", "all"} == set(found.summary.rows[0].draws)
    failed = {c.code for c in found.diagnosis.checks if c.failed}
    answered = {"two-passes", "finite-differences", "silent-success", "transfer-failure"}
    assert "two-passes" in failed and found.reliable == (failed <= answered)
    assert (found.summary.headline is not None) == found.reliable  # one place decides for both
    assert found.summary.headline is None or found.summary.headline.text.startswith(
        "upper bound (suite quick)"
    )
    assert "stochastic" in {f.code for f in found.summary.findings}
    assert json.loads((tmp_path / "auto" / "model_info.json").read_text())["unreliable"] is not found.reliable
    forced = assess(
        Noisy(model), x[:12], y[:12], QUICK.model_copy(update={"mode": "standard"}), tmp_path / "forced"
    )
    assert forced.summary.headline is None and any("random at inference" in r for r in forced.summary.refused)


class Quantised(nn.Module):
    """Pixels rounded to a few levels."""

    def __init__(self, model, levels):
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, x):
        return self.model((x * self.levels).round() / self.levels)


def test_masked_gradients_leave_no_headline(network, tmp_path):
    model, x, y = network

    found = assess(Quantised(model, 7), x, y, QUICK, tmp_path / "e")
    assert found.reliable is False and found.summary.headline is None
    assert any("zero-gradients" in r for r in found.summary.refused)
    info = json.loads((tmp_path / "e" / "model_info.json").read_text())
    assert info["unreliable"] is True and info["reported"] is None and "zero-gradients" in info["footnote"]
    unsaid = assess(model, x, y, QUICK.model_copy(update={"diagnostics": 0}), tmp_path / "none")
    assert unsaid.reliable is None and unsaid.summary.refused == ("not reliable: no diagnostics were made",)


def test_sources_that_are_stronger_are_told(network, tmp_path):
    """The quantised model again: what is made for the plain one turns more of its images."""
    model, x, y = network

    found = assess(
        Quantised(model, 3),
        x,
        y,
        QUICK.model_copy(update={"eps": 0.1}),
        tmp_path / "e",
        sources={"plain": model},
    )
    row = next(r for r in found.summary.rows if r.source == "plain")
    assert row.group == "transfer" and not row.cascade
    assert found.summary.lowest.k <= min(row.shares[0].k, found.summary.worst.k)
    assert "stronger-elsewhere" in {f.code for f in found.summary.findings}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"images": torch.zeros(0, 1, 8, 8), "labels": torch.zeros(0, dtype=torch.long)},
            "there are no images",
        ),
        ({"labels": torch.full((40,), 10)}, "labels run from 10 to 10, the model has 10 classes"),
        ({"network": nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))}, "probabilities=True"),
        ({"network": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).half()}, r"attacks need float32"),
    ],
)
def test_what_does_not_fit_is_said_before_a_folder_is_there(network, tmp_path, change, said):
    model, x, y = network
    given = {"network": model, "images": x, "labels": y, "settings": QUICK, **change}
    with pytest.raises(DataError, match=said):
        assess(**given, folder=tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            lambda: surgeon.create_model("resnet10t", num_classes=10),
            "source me cannot be attacked .* channels",
        ),
        (lambda: surgeon.create_model("resnet10t", num_classes=5, in_chans=1), "source me .* 5 classes"),
        (lambda: nn.Linear(3, 10), "source me cannot be attacked on these images: the model does not take"),
    ],
)
def test_a_source_that_does_not_take_the_images_is_named(network, tmp_path, source, told):
    model, x, y = network
    settings = Evaluation(suite="basic", attacks=["fgsm"], pictures=False)
    with pytest.raises(DataError, match=told):
        assess(model, x, y, settings, tmp_path / "e", sources={"me": source().eval()})
    assert not (tmp_path / "e" / "settings.json").exists()
