"""Two processes on this machine (gloo) train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import surgeon

pytest.importorskip("accelerate")
SCRIPT = Path(__file__).with_name("losses.py")
NAMES = ("plain", "anl", "canl", "canl-half", "lat", "kap", "fgsm-rs")
LOOSE = ("trades", "trades-kap")
BROKEN = ("broken-first", "broken-last")
OWN = ("ddp-anl", "ddp-canl", "fsdp-anl", "fsdp-canl")


def run(path, launcher, names):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *launcher, str(SCRIPT), str(path), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(path.read_text())


def test_two_processes_train_as_one(tmp_path):
    """All in one test: both runs take a while, and each worker of the suite would make its own."""
    folder = tmp_path
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    names = (*NAMES, *OWN, *LOOSE, *BROKEN)
    both = run(folder / "one", [], names), run(folder / "two", two, names)
    for check, its in ((_same, NAMES), (_found, OWN), (_loose, LOOSE), (_stopped, BROKEN)):
        for name in its:
            check(both, name)


def _same(both, name):
    one, two = (b[name] for b in both)
    assert len(one["losses"]) == len(two["losses"]) == 15
    near = {"lat": 1e-3, "trades": 1e-2}.get(
        name, 1e-5
    )  # the sign of a gradient near 0 is a matter of rounding
    assert two["losses"] == pytest.approx(one["losses"], abs=near)
    assert two["val"] == pytest.approx(one["val"], abs=near)
    assert len(two["caches"]) == len(one["caches"])
    assert two["caches"] == pytest.approx(one["caches"], rel=1e-3, abs=1e-3)
    assert len(set(one["losses"])) == 15


def _found(both, name):
    one, two = (b[name] for b in both)
    assert len(set(one["losses"])) == 8
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["caches"] == pytest.approx(one["caches"], rel=1e-3, abs=1e-4)
    assert bool(one["caches"]) == name.endswith("canl")


def test_a_fully_sharded_training_is_stored_whole_and_taken_back(tmp_path):
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*two, str(SCRIPT.with_name("sharded.py")), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    stock = surgeon.create_model("zoo/lenet5", num_classes=5).state_dict()
    assert {k: v.shape for k, v in state["model"].items()} == {k: v.shape for k, v in stock.items()}


def _loose(both, name):
    one, two = (b[name] for b in both)
    assert two["losses"] == pytest.approx(one["losses"], rel=0.3)
    assert two["losses"] != one["losses"]
    if name == "trades":  # whose attack begins where the divergence is all rounding, and parts from there
        assert two["losses"][0] == pytest.approx(one["losses"][0], abs=1e-5)


def _stopped(both, name):
    one, two = (b[name] for b in both)
    assert one.startswith(
        "the loss is nan in epoch 0, step 1, at learning rate 0.0255: it is in the images already"
    )
    assert two.startswith("the loss is nan in epoch 0, step 1, at learning rate 0.0255: it ")
