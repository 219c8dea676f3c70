"""What goes wrong at the command line: one line that says what to do, exit code 2, nothing left behind."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import surgeon
from surgeon import strict_yaml
from surgeon.cli import group
from surgeon.cli.settings import load_recipes
from tests.cli.commandline import invoke

MODEL = ["test_resnet", "--num-classes", "4", "--input-size", "3,32,32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A rewritten network in a folder."""
    out = tmp_path_factory.mktemp("errors") / "kap"
    surgeon.save(
        surgeon.apply(surgeon.create_model("test_resnet", num_classes=4, input_size=(3, 32, 32)), "kap"), out
    )
    return out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["plan", "kap+", *MODEL], "'kap+' joins an empty name; write for instance small-image+kap"),
        (["plan", "kap", "./none"], "./none is not a model folder: nothing is there"),
        (
            ["plan", "kap", *MODEL, "--set", "kap.kernelsize=5"],
            "unknown key 'kernelsize'; did you mean 'kernel_size'?",
        ),
        (
            ["plan", "kap+noise", *MODEL, "--set", "kpa.sigma=1"],
            "the recipe has no 'kpa'; did you mean 'kap'?",
        ),
        (["plan", "kap+kap", *MODEL, "--set", "kap#3.sigma=1"], "the recipe has no 'kap#3'"),
        (["plan", "kap", *MODEL, "--set", "kap"], "must look like operation.key=value"),
        (["plan", "kap", *MODEL, "--set", "kap.dims=[1"], "the value '[1' cannot be read"),
        (["apply", "kap", *MODEL, "-o", "x", "--device", "nonsense"], "device 'nonsense' cannot be used"),
        (["apply", "kap", *MODEL, "-o", "x", "--calibration", "none"], "none is not a source of images"),
        (["recipes", "show", "kapp"], "unknown recipe 'kapp'; did you mean 'kap'"),
        (["revert", "none", "-o", "x"], "none is not a model folder"),
    ],
    ids=lambda v: " ".join(v)[-30:] if isinstance(v, list) else None,
)
def test_each_is_one_line_and_exit_code_two(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert len(err) < 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["plan", "kap", *MODEL, "--model-arg", "a=[1"], "cannot be read as YAML"),
        (["plan", "kap", *MODEL, "--model-arg", "a"], "must look like key=value"),
        (["plan", "kap", "resnet18", "--num-classes", "0"], "--num-classes"),
        (["run", "kap", "resnet18", "--in-chans", "3", "-o", "x"], "No such option"),
        (["recipes", "shwo"], "shwo"),
        (["plan", "kap"], "Missing argument 'MODEL'"),
    ],
    ids=lambda v: " ".join(v)[-30:] if isinstance(v, list) else None,
)
def test_misuse_is_one_line_that_names_the_help(args, message):
    code, _, err = invoke(*args)
    assert code == 2
    assert err.startswith("Error: ") and err.count("\n") == 1
    assert message in err and err.rstrip().endswith("--help)")


def test_without_arguments_the_help_is_shown():
    code, out, err = invoke()
    assert code == 2 and "Usage: " in out + err and "Commands:" in out + err


def test_a_saved_folder_takes_no_options_of_a_new_model(folder):
    code, _, err = invoke("plan", "noise", folder, "--stack", "--num-classes", 7, "--weights", "w.pth")
    assert code == 2
    assert err.strip().endswith(
        "is a folder, which fixes its network: --weights, --num-classes cannot change it"
    )


@pytest.mark.parametrize("command", ["fold", "revert"])
def test_existing_folders_are_refused_and_kept(folder, tmp_path, command):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = invoke(command, folder, "-o", tmp_path)
    assert code == 2
    assert "exists already" in err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_folding_and_reverting_print_json(folder, tmp_path):
    code, out, err = invoke("fold", folder, "-o", tmp_path / "stock", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["class"], found["edits_left"], found["check"]["ok"]) == ("ResNet", 0, True)
    code, out, err = invoke("revert", folder, "-o", tmp_path / "back", "--json")
    assert code == 0, err
    assert json.loads(out)["class"] == "ResNet"


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    limit = 50_000  # bytes in one file: less than the weights, more than the configuration

    def fill():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [
        sys.executable,
        "-B",
        "-m",
        "surgeon",
        "apply",
        "noise",
        *MODEL,
        "-o",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=fill,
        cwd=Path(surgeon.__file__).parents[1],
    )
    assert done.returncode == 2, done.stderr
    assert "nothing of it was kept" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_is_accepted_anywhere():
    for args in (["--debug", "recipes", "show", "kapp"], ["recipes", "show", "kapp", "--debug"]):
        assert isinstance(CliRunner().invoke(group, args).exception, surgeon.SurgeonError)


def test_a_full_disk_of_any_kind_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("surgeon.recipe.loading.surveyed", full)
    code, _, err = invoke("recipes", "list")
    assert (code, err) == (2, "Error: [Errno 28] No space left on device: 'somewhere'\n")


def test_errors_of_the_program_itself_are_not_hidden(monkeypatch):
    monkeypatch.setattr("surgeon.recipe.loading.surveyed", lambda: 1 / 0)
    assert isinstance(CliRunner().invoke(group, ["recipes", "list"]).exception, ZeroDivisionError)


def test_settings_reach_the_recipe_that_has_the_operation():
    first, second = load_recipes("kap+noise", ("kap.sigma=0.3", "noise.sigma=0.4"))
    assert (first.surgery[0].sigma, second.surgery[0].sigma) == (0.3, 0.4)
    first, second = load_recipes("kap+kap", ("kap.sigma=0.3", "kap#2.sigma=0.4"))
    assert (first.surgery[0].sigma, second.surgery[0].sigma) == (0.3, 0.4)


def test_training_settings_go_to_the_part_that_a_run_uses():
    first, second = load_recipes("anl+kap", ("training.epochs=3",))
    assert (first.training.epochs, first.training.lr, second.training) == (3, 0.1, None)
    (only,) = load_recipes("kap", ("evaluation.steps=5",))
    assert only.evaluation.steps == 5


def test_joined_recipes_may_be_files(tmp_path):
    (tmp_path / "mine.yaml").write_text("surgery: [{op: noise, sigma: 0.7}]\n")
    code, out, err = invoke("recipes", "show", f"kap+{tmp_path / 'mine.yaml'}")
    assert code == 0, err
    assert [strict_yaml.load(one)["name"] for one in out.split("---\n")] == ["kap", "mine"]
    code, out, err = invoke("recipes", "show", "kap+noise", "--json")
    assert code == 0, err
    assert [r["name"] for r in json.loads(out)] == ["kap", "noise"]


def test_every_command_is_listed_with_its_own_words():
    code, out, _ = invoke("--help")
    assert code == 0
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        assert found.name == name
        assert f"\n  {name} " in out
