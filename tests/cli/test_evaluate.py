"""`surgeon evaluate`, `surgeon study`: folders and names in, one folder out, verdicts as exit codes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import surgeon
from surgeon.evaluation import read_assessment
from tests.cli.commandline import invoke
from tests.sensitivity import in_float64

for package in ("accelerate", "sklearn", "torchattacks", "scipy"):
    pytest.importorskip(package)
LENET = ["zoo/lenet5", "--input-size", "1,32,32", "--num-classes", "10"]
CHEAP = ["--data", "digits", "--samples", "16", "--eps", "0.1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder: a network trained on the digits, in float64 so that every processor gives the same one."""
    from surgeon.pipeline import training

    def fit(model, *args, **settings):
        with in_float64(model):
            return fit_as_it_is(model, *args, **settings)

    fit_as_it_is = training.fit
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    settings = ["--set", "training.epochs=12", "--set", "training.lr=0.1"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "fit", fit)
        code, _, err = invoke("train", "plain", *LENET[:3], *settings, "-o", folder)
    assert code == 0, err
    # The training's own files are in float64, the run's network in float32: a real run has them alike.
    for file in (folder / "training").glob("*.safetensors"):
        tensors = load_file(file)
        save_file({k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}, file)
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
    assert code == 2 and "holds an evaluation with other settings" in err.splitlines()[-1]


class Large(nn.Module):
    """Logits so large that the cross-entropy has no gradient."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(256, 10)

    def forward(self, x):
        return 1e6 * self.body(x.flatten(1))


def test_strict_is_an_exit_code(run, tmp_path, monkeypatch):
    given = [*CHEAP, "--suite", "quick", "--no-pictures", "--strict", "--set", "diagnostics=16"]
    weak = ["0.02" if word == "0.1" else word for word in given]
    code, out, err = invoke("evaluate", run, *weak, "-o", tmp_path / "fine")
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


def test_a_run_and_the_network_in_it_know_their_images(run, basic, tmp_path):
    given = ["--samples", "16", "--eps", "0.1", "--suite", "basic", "--set", "steps=3"]
    code, _, err = invoke("evaluate", run, *given, "-o", tmp_path / "run")
    assert code == 0, err
    found, said = read_assessment(tmp_path / "run"), read_assessment(basic[0])
    assert found.data == said.data and found.summary == said.summary
    code, _, err = invoke("evaluate", run / "trained", *given, "-o", tmp_path / "trained")
    assert code == 0 and read_assessment(tmp_path / "trained").data["source"] == "digits", err


def test_a_head_that_is_larger_is_said_to_be_meant(tmp_path):
    larger = [*LENET[:3], "--data", "digits", "--suite", "basic", "--samples", "16", "--set", "steps=1"]
    code, out, err = invoke("evaluate", *larger, "--num-classes", "12", "-o", tmp_path / "meant")
    assert code == 0, err
    surgeon.save(surgeon.create_model("zoo/lenet5", num_classes=12, input_size=(1, 32, 32)), tmp_path / "net")
    given = ["evaluate", tmp_path / "net", *larger[3:]]
    code, _, err = invoke(*given, "-o", tmp_path / "odd")
    assert (
        code == 2
        and "has 12 outputs" in err
        and "--num-classes 12" in err
        and not (tmp_path / "odd").exists()
    )
    code, _, err = invoke(*given, "--num-classes", "11", "-o", tmp_path / "odd")
    assert code == 2 and "num_classes=11, and" in err
    code, _, err = invoke(*given, "--num-classes", "12", "-o", tmp_path / "said")
    assert code == 0, err


def test_a_run_that_was_trained_with_a_larger_head_has_said_so(tmp_path):
    given = [*LENET[:3], "--num-classes", "12", "--set", "training.epochs=1"]
    code, _, err = invoke("train", "plain", *given, "-o", tmp_path / "run")
    assert code == 0, err
    given = ["evaluate", tmp_path / "run", "--suite", "basic", "--samples", "16", "--set", "steps=1"]
    code, _, err = invoke(*given, "-o", tmp_path / "e")
    assert code == 0, err


def test_a_network_at_chance_has_no_headline_in_any_suite(tmp_path):
    """Of 32 images a fresh network gets a few right by luck."""
    for suite in ("basic", "quick"):
        given = [
            *LENET,
            "--data",
            "digits",
            "--suite",
            suite,
            "--samples",
            "32",
            "--no-pictures",
            "--set",
            "diagnostics=0",
        ]
        code, out, err = invoke("evaluate", *given, "--set", "steps=1", "-o", tmp_path / suite)
        assert code == 0, err
        found = read_assessment(tmp_path / suite).summary
        assert found.headline is None and "the network is hardly trained: " in found.refused[0]
        assert "guessing among 10 classes gives 10.0 %" in found.refused[0] and "hardly trained" in " ".join(
            out.split()
        )


@pytest.mark.parametrize("command", ["train", "run", "study"])
def test_a_training_of_no_epochs_is_refused_with_what_would_work(tmp_path, command):
    given = [command, "kap", *LENET[:3], "--set", "training.epochs=0", "-o", tmp_path / "out"]
    code, _, err = invoke(*given)
    assert (
        code == 2
        and "training.epochs=0 trains nothing: `surgeon apply`" in err
        and not (tmp_path / "out").exists()
    )


@pytest.mark.parametrize("command", ["train", "run", "study"])
def test_trained_weights_are_trained_on_images_that_are_named(run, tmp_path, command):
    weights = run / "trained" / "model.safetensors"
    code, _, err = invoke(command, "kap", *LENET[:3], "--weights", weights, "-o", tmp_path / "out")
    assert (
        code == 2
        and "starts from trained weights" in err
        and "--data" in err
        and not (tmp_path / "out").exists()
    )


def test_a_network_is_trained_on_with_its_own_images(run, tmp_path):
    given = ["--set", "training.epochs=1", "-o", tmp_path / "on"]
    code, _, err = invoke("train", "plain", run / "trained", *given)
    assert code == 0 and json.loads((tmp_path / "on" / "settings.json").read_text())["data"] == "digits", err
    surgeon.save(surgeon.load(run / "trained"), tmp_path / "alone")
    (tmp_path / "alone" / "lineage.json").unlink()  # as a network that nothing is known of
    code, _, err = invoke("train", "plain", tmp_path / "alone", *given[:2], "-o", tmp_path / "none")
    assert code == 2 and "nothing says which images they are for" in err and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            LENET,
            "zoo/lenet5 does not say which images it is for: name them (--data SOURCE)".replace(
                "(", "[(]"
            ).replace(")", "[)]"),
        ),
        (
            [*LENET[:3], "--data", "digits", "--model-arg", "num_classes=1000"],
            "digits has 10 classes, and zoo/lenet5 has 1000 outputs",
        ),
        (
            ["some/none", "--data", "digits"],
            "unknown model 'some/none', and nothing lies there; a repository .* 'hf-hub:some/none'",
        ),
        (
            ["timm/resnet81", "--data", "digits"],
            "unknown model 'timm/resnet81', and nothing lies there; did you mean .*resnet18",
        ),
        (["resnet1", "--data", "digits"], "unknown model 'resnet1'; did you mean"),
        ([*LENET, "--data", "nowhere"], "nowhere is not a source of images"),
        (
            [*LENET, "--data", "digits", "--set", "certify_drawz=3"],
            "unknown key 'certify_drawz'; did you mean 'certify_draws'",
        ),
        ([*LENET, "--set", "samples=0"], "samples"),
        (
            [*LENET, "--data", "digits", "--suite", "paper"],
            "no paper's method in it; say whose tables are wanted",
        ),
        (
            [*LENET, "--data", "digits", "--source", "zoo/lenet5", "--source", "zoo/lenet5"],
            "two sources have one name",
        ),
        ([*LENET, "--device", "nonsense"], "device 'nonsense' cannot be used"),
        ([*LENET[:3], "--data", "digits", "--num-classes", "4"], "has 10 classes, and zoo/lenet5 only 4"),
    ],
    ids=lambda v: " ".join(v)[-24:] if isinstance(v, list) else None,
)
def test_a_mistake_is_one_line_exit_code_two_and_no_folder(tmp_path, monkeypatch, args, message):
    import re

    monkeypatch.chdir(tmp_path)
    code, _, err = invoke("evaluate", *args, "-o", "e")
    said = [line for line in err.strip().splitlines() if ": images: " not in line]
    assert code == 2 and re.search(message, said[-1]) and len(said) == 1, err
    assert not (tmp_path / "e").exists()


def test_a_study_has_five_arms_with_one_budget_and_goes_on(run, tmp_path):
    given = [
        "study",
        "kap",
        *LENET[:3],
        "--set",
        "training.epochs=1",
        "--set",
        "training.batch_size=128",
        "--set",
        "evaluation.steps=2",
        "--suite",
        "basic",
        "--samples",
        "24",
        "--eps",
        "0.1",
        "--data",
        "digits",
        "--weights",
        run / "trained" / "model.safetensors",
        "-o",
        tmp_path / "study",
    ]
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
