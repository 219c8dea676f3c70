"""The commands, as a user gives them; errors are one line and exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import surgeon
from surgeon.cli import COMMANDS, main

MODEL = ["resnet18", "--num-classes", "4", "--input-size", "3,32,32"]


@pytest.fixture
def run(capsys):
    """Run a command line; returns (exit code, stdout, stderr)."""

    def call(*args):
        try:
            main([str(a) for a in args])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A rewritten network in a folder."""
    out = tmp_path_factory.mktemp("cli") / "kap"
    model = surgeon.create_model("resnet18", num_classes=4, input_size=(3, 32, 32))
    surgeon.save(surgeon.apply(model, "kap"), out)
    return out


def test_help_names_every_command_and_imports_no_torch():
    code = (
        "import sys\n"
        "from surgeon.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'timm', 'torchvision', 'numpy', 'pydantic', 'ruamel'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


def test_importing_surgeon_imports_nothing_heavy():
    code = "import sys, surgeon; assert not {'torch', 'timm', 'pydantic', 'click'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0 and "Usage: surgeon" in out


def test_the_checkouts_cli_is_the_same_command():
    root = Path(surgeon.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, root / "cli.py", "--version"], capture_output=True, text=True, check=False
    )
    assert surgeon.__version__ in done.stdout


def test_apply_fold_revert_and_inspect(run, tmp_path):
    out = tmp_path / "out"
    code, text, err = run("apply", "kap+anl", *MODEL, "-o", out, "--seed", 3)
    assert code == 0, err
    assert "folds into a stock checkpoint: yes" in text and "relative difference" in text
    code, text, _ = run("inspect", out, "--kind", "conv", "--include", "layer1.**")
    assert (
        code == 0 and "layer1.0.conv1" in text and "layer2" not in text.split("called")[0].split("site")[-1]
    )
    code, text, err = run("fold", out, "-o", tmp_path / "stock")
    assert code == 0, err
    loaded = timm.create_model(f"local-dir:{tmp_path / 'stock'}", pretrained=True).eval()
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(loaded(x), surgeon.load(out)(x), atol=1e-5)
    code, text, err = run("revert", out, "-o", tmp_path / "back")
    assert code == 0 and "a stock ResNet" in text, err


def test_plan_shows_and_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, err = run("plan", "wm-unsharp", *MODEL)
    assert code == 0, err
    assert "weight-map" in text and "passed over" in text and "parameters" in text and "destroyed" in text
    code, text, _ = run("plan", "kap", *MODEL, "--json", "--set", "kap.select.stages=[0]")
    plan = json.loads(text)
    assert [e["site"] for e in plan["edits"]] == ["input", "conv1"]
    assert list(tmp_path.iterdir()) == []


def test_weights_and_calibration_keep_a_trained_network(run, tmp_path):
    model = timm.create_model("resnet18", num_classes=4, channels=(8, 8, 16, 16))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    code, text, err = run(
        "apply",
        "kap",
        *MODEL,
        "--model-arg",
        "channels=[8,8,16,16]",
        "--weights",
        tmp_path / "w.safetensors",
        "--calibration",
        "digits",
        "--calibration-count",
        64,
        "-o",
        tmp_path / "out",
        "--json",
    )
    assert code == 0, err
    record = json.loads(text)
    choice = record["execution"]["choice"]
    assert (choice["fitted"], choice["held_out"]) == (48, 16)
    assert [t["start"] for t in choice["trials"]] == ["lstsq", "lstsq", "sequential"]
    (used,) = (t for t in choice["trials"] if t["used"])
    assert {e["settings"].get("start") for e in record["edits"] if e["site"] != "input"} == {used["start"]}
    assert record["execution"]["statistics"] == used["statistics"]
    _, text, _ = run("inspect", tmp_path / "out")
    assert (
        "start tried" in text
        and "predictions kept" in text
        and "on 16 images held out" in " ".join(text.split())
    )
    assert record["execution"]["drift"]["source"] == "calibration"


def test_recipes_and_models(run, tmp_path):
    code, text, _ = run("recipes", "list")
    assert code == 0 and "wm-unsharp-all" in text
    code, text, _ = run("recipes", "show", "kap", "--set", "kap.kernel_size=5")
    assert code == 0 and "kernel_size: 5" in text
    (tmp_path / "mine.yaml").write_text(text)
    code, out, _ = run("recipes", "validate", tmp_path / "mine.yaml")
    assert code == 0 and "valid, kap" in out
    code, text, _ = run("recipes", "schema")
    assert json.loads(text)["properties"]["surgery"]
    code, text, _ = run("models", "torchvision/resnet1*")
    assert text.split() == ["torchvision/resnet101", "torchvision/resnet152", "torchvision/resnet18"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["apply", "kapp", "resnet18", "-o", "x"], "unknown recipe 'kapp'; did you mean 'kap'"),
        (["apply", "kap", "resnet81", "-o", "x"], "unknown model 'resnet81'; did you mean"),
        (["plan", "kap", "torchvision/resnet81"], "unknown model 'torchvision/resnet81'; did you mean"),
        (
            ["plan", "kap", *MODEL, "--set", "kap.kernelsize=3"],
            "unknown key 'kernelsize'; did you mean 'kernel_size'?",
        ),
        (["plan", "kap", *MODEL, "--set", "kap.kernel_size=4"], "kernel_size=4 is even"),
        (
            ["plan", "kap", *MODEL, "--set", "kap.kernel_size=99"],
            "kernel_size=99 exceeds the 8x8 sheet of 64 channels; largest odd size is 7",
        ),
        (
            ["plan", "kap", *MODEL, "--set", "kap.select.include=layer9.**"],
            "no conv site matches 'layer9.**'; did you mean",
        ),
        (["plan", "kap", "resnet18", "--input-size", "3,x"], "is not a size; write for instance 3,32,32"),
        (["plan", "kap", "resnet18", "--model-arg", "no_such=1"], "no_such"),
        (["plan", "anl", "nf_resnet50"], "the model has none (no norms at all)"),
        (["fold", "no/such/folder", "-o", "x"], "not a model folder"),
        (["aply"], "no command 'aply'; did you mean 'apply'"),
        (["inspect", *MODEL, "--include", "fc9"], "no site matches fc9"),
        (["models", "resmet*"], "no model matches 'resmet*'"),
        (["recipes", "validate", "none.yaml"], "recipe file none.yaml does not exist"),
        (["plan", "wm-smoothing-all", "vgg16"], None),
        (["apply", "wm-smoothing-all", "vgg16", "-o", "x"], "over the limit of 500,000,000"),
    ],
    ids=lambda v: "-".join(map(str, v))[:40] if isinstance(v, list) else None,
)
def test_bad_input_is_one_line_and_exit_code_two(run, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*args)
    if message is None:
        assert code == 0 and "too" not in err
        return
    assert code == 2
    assert message in err.replace("\n", " ")
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("Error")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_that_do_not_fit_are_named(run, tmp_path):
    save_file(timm.create_model("resnet18", num_classes=9).state_dict(), tmp_path / "nine.safetensors")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 truncated")
    code, _, err = run("plan", "kap", *MODEL, "--weights", tmp_path / "nine.safetensors")
    assert code == 2 and "fc.weight is (9, 512), the model needs (4, 512)" in err
    code, _, err = run("plan", "kap", *MODEL, "--weights", tmp_path / "cut.pth")
    assert code == 2 and "is damaged or no checkpoint" in err


def test_an_existing_folder_is_refused_before_any_work(run, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    monkeypatch.setattr(
        "surgeon.models.creating.create_model", lambda *a, **k: pytest.fail("worked before looking")
    )
    code, _, err = run("apply", "kap", "resnet18", "-o", tmp_path / "out")
    assert code == 2 and "exists already" in err


def test_surgery_twice_is_refused_or_stacked(run, folder, tmp_path):
    code, _, err = run("apply", "noise", folder, "-o", tmp_path / "two")
    assert code == 2 and "has had surgery already" in err and "--stack" in err
    code, _, err = run("apply", "noise", folder, "--stack", "-o", tmp_path / "two")
    assert code == 0, err


def test_debug_shows_the_traceback(run, tmp_path):
    with pytest.raises(surgeon.SurgeonError):
        main(["apply", "kapp", "resnet18", "-o", str(tmp_path / "x"), "--debug"])
