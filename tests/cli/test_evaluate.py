"""`surgeon evaluate`, `surgeon study`: folders and names in, one folder out, verdicts as exit codes."""

import json

import pytest
import torch
from torch import nn

import surgeon
from surgeon.evaluation import read_assessment
from tests.cli.commandline import invoke

for package in ("accelerate", "sklearn", "torchattacks", "scipy"):
    pytest.importorskip(package)
LENET = ["zoo/lenet5", "--input-size", "1,32,32", "--num-classes", "10"]
CHEAP = ["--data", "digits", "--samples", "16", "--eps", "0.1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder: a network trained on the digits."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    settings = ["--set", "training.epochs=12", "--set", "training.lr=0.1"]
    code, _, err = invoke("train", "plain", *LENET[:3], *settings, "-o", folder)
    assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def basic(run, tmp_path_factory):
    """(folder, output) of an evaluation by the attacks named in the settings."""
    folder = tmp_path_factory.mktemp("evaluated") / "e"
    code, out, err = invoke("evaluate", run, *CHEAP, "--suite", "basic", "--set", "steps=3", "-o", folder)
    assert code == 0, err
    return folder, out


def test_a_runs_folder_is_evaluated_into_a_folder_with_its_page(run, basic):
    folder, out = basic
    found = read_assessment(folder)
    assert (
        found.subject.name == "run"
        and found.subject.model == "zoo/lenet5"
        and found.data["source"] == "digits"
    )
    assert found.summary.clean.n == 16 and found.summary.clean.value > 0.5
    assert "no number to quote" in out and f"{100 * found.summary.worst.value:.1f} %" in out
    assert "<html" in (folder / "report.html").read_text()
    assert found.made["command"][:1] and torch.__version__.startswith(found.made["versions"]["torch"])


def test_the_same_command_again_reads_what_is_there_and_json_is_the_file(run, basic):
    folder, _ = basic
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    code, out, err = invoke(
        "evaluate", run, *CHEAP, "--suite", "basic", "--set", "steps=3", "-o", folder, "--json"
    )
    assert code == 0, err
    assert json.loads(out) == json.loads((folder / "evaluation.json").read_text())
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    code, _, err = invoke("evaluate", run, *CHEAP, "--suite", "basic", "--seed", "1", "-o", folder)
    assert code == 2 and "holds an evaluation with other settings" in err and len(err.splitlines()) == 1


class Large(nn.Module):
    """Logits so large that the cross-entropy has no gradient."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(256, 10)

    def forward(self, x):
        return 1e6 * self.body(x.flatten(1))


def test_strict_is_an_exit_code(run, tmp_path, monkeypatch):
    given = [*CHEAP, "--suite", "quick", "--no-pictures", "--strict", "--set", "diagnostics=16"]
    code, out, err = invoke("evaluate", run, *given, "--eps", "0.02", "-o", tmp_path / "fine")
    found = read_assessment(tmp_path / "fine")
    assert (code == 0) == (found.reliable and found.summary.headline is not None), err
    assert code == 0 and "upper bound of robust accuracy" in out
    hidden = surgeon.create_model("zoo/lenet5", num_classes=10, input_size=(1, 32, 32))
    trained = surgeon.load(run / "trained")
    hidden.load_state_dict(trained.state_dict())
    last = [m for m in hidden.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight *= 1e6
        last.bias *= 1e6
    surgeon.save(hidden, tmp_path / "hidden")
    code, out, err = invoke("evaluate", tmp_path / "hidden", *given, "-o", tmp_path / "caught")
    assert code == 1 and "no number to quote: not reliable" in out and "FAILED" in out
    assert read_assessment(tmp_path / "caught").reliable is False


def test_a_rewritten_folder_is_folded_and_attacked_from_another(run, tmp_path):
    cut = surgeon.apply(surgeon.load(run / "trained"), "kap", input_size=(1, 32, 32), trained=True)
    surgeon.save(cut, tmp_path / "kap")
    given = [*CHEAP, "--suite", "quick", "--no-pictures", "--set", "diagnostics=16", "--source", run]
    code, out, err = invoke("evaluate", tmp_path / "kap", *given, "-o", tmp_path / "e")
    assert code == 0, err
    assert "folds exactly" in out and "transfer: transfer-apgd-ce linf 0.1 from run" in out
    found = read_assessment(tmp_path / "e")
    assert found.subject.operations == ("kap",) and any(
        c.code == "transfer from run" for c in found.diagnosis.checks
    )


def test_certificates_by_an_option(run, tmp_path):
    given = [
        *CHEAP,
        "--suite",
        "basic",
        "--set",
        "steps=1",
        "--certify",
        "0.25",
        "--set",
        "certify_draws=200",
        "--set",
        "certify_samples=2",
    ]
    code, _, err = invoke("evaluate", run, *given, "-o", tmp_path / "e")
    assert code == 0, err
    assert read_assessment(tmp_path / "e").certified[0].sigma == 0.25


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["some/none"], "unknown model 'some/none', and nothing lies there; a repository .* 'hf-hub:some/none'"),
        (["timm/resnet81"], "unknown model 'timm/resnet81', and nothing lies there; did you mean .*resnet18"),
        (["resnet1"], "unknown model 'resnet1'; did you mean"),
        ([*LENET, "--data", "nowhere"], "nowhere is no source of images"),
        ([*LENET, "--set", "certify_drawz=3"], "unknown key 'certify_drawz'; did you mean 'certify_draws'"),
        ([*LENET, "--set", "samples=0"], "samples"),
        ([*LENET, "--suite", "paper"], "no paper's method in it; say whose tables are wanted"),
        ([*LENET, "--source", "zoo/lenet5", "--source", "zoo/lenet5"], "two sources have one name"),
        ([*LENET, "--device", "nonsense"], "device 'nonsense' cannot be used"),
        ([*LENET[:3], "--num-classes", "4"], "has 10 classes, and zoo/lenet5 only 4"),
    ],
    ids=lambda v: " ".join(v)[-24:] if isinstance(v, list) else None,
)  # fmt: skip
def test_a_mistake_is_one_line_exit_code_two_and_no_folder(tmp_path, monkeypatch, args, message):
    import re

    monkeypatch.chdir(tmp_path)
    code, _, err = invoke("evaluate", *args, "-o", "e")
    assert code == 2 and re.search(message, err) and len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "e").exists()


def test_a_study_has_five_arms_with_one_budget_and_goes_on(run, tmp_path):
    given = [
        "study", "kap", *LENET[:3], "--set", "training.epochs=1", "--set", "training.batch_size=128", "--set", "evaluation.steps=2",
        "--suite", "basic", "--samples", "24", "--eps", "0.1", "--weights", run / "trained" / "model.safetensors",
        "-o", tmp_path / "study",
    ]  # fmt: skip
    code, out, err = invoke(*given, "--seeds", 2, "--json")
    assert code == 0, err
    table = json.loads(out)
    arms = {a["name"]: a for a in table["arms"]}
    assert list(arms) == [
        "stock",
        "stock, fine-tuned",
        "surgery",
        "surgery, fine-tuned",
        "placebo, fine-tuned",
    ]
    assert all(a["seeds"] == [0, 1] and len(a["clean"]) == 2 for a in arms.values())
    assert arms["stock, fine-tuned"]["clean_difference"] is None
    # a placebo is the stock network with layers that do nothing: the same training gives the same network
    assert arms["placebo, fine-tuned"]["clean"] == arms["stock, fine-tuned"]["clean"]
    assert arms["placebo, fine-tuned"]["worst_difference"]["mean"] == 0
    assert arms["stock"]["clean"][0] == arms["stock"]["clean"][1]
    difference = arms["surgery"]["clean_difference"]
    wanted = [
        a - b for a, b in zip(arms["surgery"]["clean"], arms["stock, fine-tuned"]["clean"], strict=True)
    ]
    assert [p["difference"] for p in difference["pairs"]] == pytest.approx(wanted)
    assert difference["low"] <= difference["mean"] <= difference["high"]
    place = tmp_path / "study" / "surgery-fine-tuned" / "1" / "evaluation" / "evaluation.json"
    place.unlink()
    code, again, err = invoke(*given, "--seeds", 2, "--json")
    assert code == 0 and json.loads(again) == table, err
    code, out, err = invoke("study", "plain", *LENET[:3], "-o", tmp_path / "none")
    assert code == 2 and "a study needs a recipe with surgery" in err
