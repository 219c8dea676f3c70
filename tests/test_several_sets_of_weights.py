"""A checkpoint with averaged weights beside the raw ones: which are taken can be said, and is told where it was not."""

import pytest
import torch

import surgeon
from surgeon.errors import ArgumentError, ArtifactError, ArtifactWarning, ModelError
from surgeon.models.checkpoints import read_weights
from tests.cli.commandline import invoke
from tests.started import Started, command_line

ONE, OTHER = {"a.weight": torch.ones(2)}, {"a.weight": torch.zeros(2)}


@pytest.mark.parametrize(
    ("file", "taken", "left"),
    [
        ({"model": ONE, "model_ema": OTHER}, "model", "model_ema"),
        ({"state_dict": ONE, "swa_state_dict": OTHER}, "state_dict", "swa_state_dict"),
        (
            {"state_dict": ONE, "averaged": {f"module.{k}": v for k, v in OTHER.items()}},
            "state_dict",
            "averaged",
        ),
        ({"model": {"state_dict": ONE}, "net": OTHER, "epoch": 3}, "model", "net"),
        ({"model": {"state_dict": ONE, "ema": OTHER}}, "model.state_dict", "model.ema"),
        ({"ema": ONE, **OTHER}, "ema", "."),
    ],
)
def test_a_second_set_is_named(tmp_path, file, taken, left):
    torch.save(file, tmp_path / "w.pth")
    with pytest.warns(ArtifactWarning, match=f"'{taken}' was taken, and not '{left}'"):
        assert torch.equal(read_weights(tmp_path / "w.pth")["a.weight"], torch.ones(2))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "file",
    [
        {"state_dict": ONE, "optimizer": {"state": {0: OTHER}, "param_groups": []}},
        {"model": ONE, "criterion": {"center": torch.ones(2)}},
        {"model_ema": ONE},
        ONE,
    ],
)
def test_what_is_no_second_set_is_not(tmp_path, file):
    torch.save(file, tmp_path / "w.pth")
    assert torch.equal(read_weights(tmp_path / "w.pth")["a.weight"], torch.ones(2))


def test_prefixes_within_prefixes_are_taken_off(tmp_path):
    torch.save({f"_orig_mod.module.{k}": v for k, v in ONE.items()}, tmp_path / "w.pth")
    assert list(read_weights(tmp_path / "w.pth")) == ["a.weight"]


def test_the_command_line_tells_it_in_one_line(tmp_path):
    network = surgeon.create_model("zoo/lenet5")
    torch.save({"model": network.state_dict(), "model_ema": network.state_dict()}, tmp_path / "w.pth")
    command = ["plan", "kap", "zoo/lenet5", "--weights", str(tmp_path / "w.pth")]
    done = Started(command_line, *command)
    assert done.wait(300) == 0
    (line,) = done.said().splitlines()
    assert line.startswith("warning: ") and "'model' was taken, and not 'model_ema'" in line
    assert line.endswith("; --weights-entry model_ema takes another")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("file", "entry"),
    [
        ({"model": ONE, "model_ema": OTHER}, "model_ema"),
        ({"state_dict": ONE, "averaged": {"module": OTHER}}, "averaged"),
        ({"state_dict": ONE, "averaged": {"module": OTHER}}, "averaged.module"),
        ({"model": {"state_dict": ONE, "ema": OTHER}}, "model.ema"),
        ({"ema": ONE, **OTHER}, "."),
        ({"teacher": OTHER, "student": ONE}, "teacher"),
    ],
)
def test_a_set_that_is_said_is_taken(file, entry, tmp_path):
    torch.save(file, tmp_path / "w.pth")
    assert torch.equal(read_weights(tmp_path / "w.pth", entry=entry)["a.weight"], torch.zeros(2))


@pytest.mark.parametrize(
    ("file", "how", "text"),
    [
        (
            {"model": ONE, "model_ema": OTHER},
            {"entry": "ema"},
            "no set of weights called 'ema'; it has 'model', 'model_ema'",
        ),
        (ONE, {"entry": "model"}, "its one set lies in it directly: leave entry out"),
        ({"model": ONE}, {"ema": True}, "holds no averaged weights under .*; it has 'model'"),
        ({"teacher": OTHER, "student": ONE}, {}, "it has 'teacher', 'student': say which by entry='teacher'"),
    ],
)
def test_a_set_that_is_not_there_is_refused_with_those_that_are(file, how, text, tmp_path):
    torch.save(file, tmp_path / "w.pth")
    with pytest.raises(ArtifactError, match=text):
        read_weights(tmp_path / "w.pth", **how)


def test_what_contradicts_itself_or_has_no_file_is_refused(tmp_path):
    torch.save({"model": ONE, "ema": OTHER}, tmp_path / "w.pth")
    with pytest.raises(ArgumentError, match="ema=True and entry='model' say two things"):
        read_weights(tmp_path / "w.pth", ema=True, entry="model")
    with pytest.raises(ModelError, match="weights_entry='ema' is of a file of weights: give that as weights"):
        surgeon.create_model("zoo/lenet5", weights_entry="ema")


@pytest.fixture
def both(tmp_path):
    """A file of two networks whose logits have other signs, and how it is named."""
    network = surgeon.create_model("zoo/lenet5", input_size=(1, 32, 32))
    other = {k: -v if k.startswith("fc3") else v for k, v in network.state_dict().items()}
    torch.save({"model": network.state_dict(), "model_ema": other}, tmp_path / "w.pth")
    return tmp_path / "w.pth", other["fc3.weight"]


@pytest.mark.parametrize("command", ["apply", "convert", "train", "evaluate"])
def test_every_command_takes_the_set_that_is_said(command, both, tmp_path):
    for package in ("accelerate", "sklearn", "torchattacks", "pyarrow"):
        pytest.importorskip(package)
    file, wanted = both
    name, size = ["zoo/lenet5", "--weights", file], ["--input-size", "1,32,32"]
    how = {
        "apply": ["kap", *name],
        "convert": ["kap", file, "--model", "zoo/lenet5"],
        "train": ["plain", *name, "--data", "digits", "--epochs", "1"],
        "evaluate": [
            *name,
            "--data",
            "digits",
            "--suite",
            "basic",
            "--samples",
            "8",
            "--set",
            "attacks=[fgsm]",
        ],
    }[command]
    out = tmp_path / "out"
    code, _, err = invoke(command, *how, *size, "--weights-entry", "ema", "-o", out)
    assert code != 0 and "no set of weights called 'ema'; it has 'model', 'model_ema'" in err
    assert not out.exists()
    code, _, err = invoke(command, *how, *size, "--weights-entry", "model_ema", "-o", out)
    assert code == 0, err
    assert "more than one set" not in err
    if command == "evaluate":
        from surgeon.evaluation import read_assessment
        from surgeon.evaluation.engine.fingerprints import weights_hash

        ema = surgeon.create_model(
            "zoo/lenet5", weights=str(file), weights_entry="model_ema", input_size=(1, 32, 32)
        )
        assert read_assessment(out).subject.weights == weights_hash(ema)
    else:
        cut = surgeon.load(out / "cut" if command == "train" else out)
        assert torch.equal(surgeon.revert(cut).fc3.weight if command != "train" else cut.fc3.weight, wanted)
    if command in ("train", "convert"):
        code, _, err = invoke(command, *how, *size, "--weights-entry", "model", "-o", out)
        assert code != 0 and "(weights_entry" in err
