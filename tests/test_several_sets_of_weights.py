"""A checkpoint with averaged weights beside the raw ones: which of them were taken is told."""

import subprocess
import sys

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactWarning
from surgeon.models.checkpoints import read_weights

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
    done = subprocess.run(
        [sys.executable, "-m", "surgeon", *command], capture_output=True, text=True, check=True
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ") and "'model' was taken, and not 'model_ema'" in line
